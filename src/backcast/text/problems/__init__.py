"""Text problems: questions, the files they come in, and leaks between sets."""

from backcast.text.problems.files import is_questions as is_questions
from backcast.text.problems.files import read_questions as read_questions
from backcast.text.problems.files import split as split
from backcast.text.problems.layouts import LAYOUTS as LAYOUTS
from backcast.text.problems.leaks import Leak as Leak
from backcast.text.problems.leaks import leaks as leaks
from backcast.text.problems.leaks import refuse_leaks as refuse_leaks
from backcast.text.problems.leaks import without_leaks as without_leaks
from backcast.text.problems.question import Question as Question
from backcast.text.problems.question import refuse_free as refuse_free
