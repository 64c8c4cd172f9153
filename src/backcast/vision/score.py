"""How good a looking model is, and whether it is the looking that makes it so.

The table of necessity asks the same questions five times: with tools, without, and with tools that bring a random part,
nothing but grey, or the part where the answer is known to be. Only a model that needs what it asks for loses on the
random part what it gains with its own.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

from backcast.core.errors import BadInput
from backcast.core.stats import Interval, bootstrap, paired
from backcast.lm.base import Sampling
from backcast.lm.sight import Sight
from backcast.vision.looker.loop import Ask, Look, Looking
from backcast.vision.looker.settings import PRESETS, LookSettings
from backcast.vision.problems.problem import VisualProblem

ARMS = ("on", "off", "random", "blank", "oracle")
"""Tools on; no tools; and tools that bring a random part, grey, the right part."""


@dataclass(frozen=True)
class Arm:
    """One way of asking, over all problems."""

    name: str
    score: Interval
    """Mean score with its interval; None where the arm cannot be asked (no known boxes)."""
    looked: float | None
    """Share of conversations with a call (RaPR)."""
    calls: float | None
    """Calls a conversation."""
    errors: float | None
    """Share of calls that failed."""
    without_answer: float | None
    """Share of conversations that ended without an answer."""
    against_on: Interval
    """Paired difference: tools on minus this arm."""


@dataclass(frozen=True)
class Necessity:
    """The table: one row an arm."""

    arms: tuple[Arm, ...]
    looks: tuple[Look, ...] = field(default=(), repr=False)
    """The conversations with tools as they are, in the problems' order."""

    def rows(self) -> list[dict[str, object]]:
        """As plain dictionaries, for JSON."""
        return [asdict(arm) for arm in self.arms]


def scores(looks: Sequence[Look], problems: Sequence[VisualProblem]) -> list[float]:
    """The score of each conversation; one without an answer scores 0, since the model had its chance."""
    return [
        0.0 if look.answer is None else problem.score(_last_reply(look)).value or 0.0
        for look, problem in zip(looks, problems, strict=True)
    ]


def _last_reply(look: Look) -> str:
    return next(turn.text for turn in reversed(look.turns) if turn.role == "assistant")


def ask(
    lm: Sight,
    problems: Sequence[VisualProblem],
    settings: LookSettings = PRESETS["strict"],
    sampling: Sampling | None = None,
    tools: bool = True,
    batch: int = 16,
) -> list[Look]:
    """A conversation about each problem, ``batch`` at a time."""
    looking = Looking(lm, settings, sampling, tools)
    found: list[Look] = []
    for first in range(0, len(problems), batch):
        part = problems[first : first + batch]
        found += looking.look([Ask(problem.media(settings.frames), problem.prompt, problem.id) for problem in part])
    return found


def necessity(
    lm: Sight,
    problems: Sequence[VisualProblem],
    settings: LookSettings = PRESETS["strict"],
    sampling: Sampling | None = None,
) -> Necessity:
    """The table for one model. The oracle's arm is left unmeasured unless every problem has its box known.

    Raises BadInput for no problems, and for settings that are a control already.
    """
    if not problems:
        raise BadInput("no problems to ask; give at least one")
    if settings.shows != "asked":
        raise BadInput(f"the table needs the tools as they are, and the settings show '{settings.shows}'")
    found: dict[str, tuple[list[float], list[Look]]] = {}
    for name in ARMS:
        if name == "oracle" and any(_unknown(problem) for problem in problems):
            continue
        shows = name if name in ("random", "blank", "oracle") else "asked"
        looks = ask(lm, problems, replace(settings, shows=shows), sampling, tools=name != "off")  # type: ignore[arg-type]
        found[name] = scores(looks, problems), looks
    return Necessity(tuple(_arm(name, found) for name in ARMS), tuple(found["on"][1]))


def _unknown(problem: VisualProblem) -> bool:
    media = problem.media()
    return problem.box is None or (media.video and not problem.moments)


def _arm(name: str, found: dict[str, tuple[list[float], list[Look]]]) -> Arm:
    none = Interval(None, None, None, 0)
    if name not in found:
        return Arm(name, none, None, None, None, None, none)
    values, looks = found[name]
    count, calls = len(looks), sum(look.calls for look in looks)
    failed = sum(bool(result.error) for look in looks for result in look.results)
    return Arm(
        name,
        bootstrap(values),
        sum(look.used for look in looks) / count,
        calls / count,
        failed / calls if calls else None,
        sum(look.answer is None for look in looks) / count,
        none if name == "on" else paired(found["on"][0], values),
    )
