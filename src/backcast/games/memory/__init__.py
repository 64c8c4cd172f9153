"""Strategies with finite memory: automata, K-memory tables, memory-one vectors, mixtures, noise, and a zoo of
named players."""

from backcast.games.memory.automaton import Automaton as Automaton
from backcast.games.memory.automaton import stationary as stationary
from backcast.games.memory.automaton import with_noise as with_noise
from backcast.games.memory.files import load_strategy as load_strategy
from backcast.games.memory.files import parse_memory_one as parse_memory_one
from backcast.games.memory.files import read_strategy as read_strategy
from backcast.games.memory.files import to_dot as to_dot
from backcast.games.memory.files import to_json as to_json
from backcast.games.memory.minimise import fingerprint as fingerprint
from backcast.games.memory.minimise import minimise as minimise
from backcast.games.memory.minimise import needed_memory as needed_memory
from backcast.games.memory.minimise import to_table as to_table
from backcast.games.memory.mixture import Mixture as Mixture
from backcast.games.memory.mixture import induced as induced
from backcast.games.memory.mixture import parse_mixture as parse_mixture
from backcast.games.memory.team import together as together
from backcast.games.memory.team import two_seats as two_seats
from backcast.games.memory.windows import Windows as Windows
from backcast.games.memory.windows import embed as embed
from backcast.games.memory.windows import k_memory as k_memory
from backcast.games.memory.windows import memory_one as memory_one
from backcast.games.memory.windows import own_first as own_first
from backcast.games.memory.zoo import named_automaton as named_automaton
from backcast.games.memory.zoo import names as names
