"""Curiosity: a bonus for looking while few attempts look, a price for looking too often (2505.15966, section 3).

The rewards are pure array functions: arrays have shape (groups, G), one row a question, one column an attempt; NumPy
arrays and torch tensors alike.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from array_api_compat import array_namespace

from backcast.core.errors import BadInput
from backcast.core.vitals import Vital

Variant = Literal["paper", "code", "valid"]


@dataclass(frozen=True)
class Curiosity:
    """The constants of the curiosity reward; the defaults are the paper's."""

    variant: Variant = "paper"
    """paper: equation below. code: what the authors' program computes. valid: the paper's formula, counting only calls
    that succeeded, as the port in verl-tool does."""
    alpha: float = 0.5
    """Weight of the bonus (paper; variants paper and valid)."""
    beta: float = 0.05
    """Price of each call above ``most`` (paper; the code's is the same)."""
    threshold: float = 0.3
    """H: the rate of looking below which the bonus is paid (paper and code)."""
    most: int = 1
    """N: calls that are free (paper and code)."""

    def __post_init__(self) -> None:
        if self.variant not in ("paper", "code", "valid"):
            raise BadInput(f"unknown curiosity variant '{self.variant}'; known: code, paper, valid")
        if self.alpha < 0 or self.beta < 0 or not 0 <= self.threshold <= 1 or self.most < 0:
            raise BadInput(
                "curiosity needs alpha, beta and most of at least 0 and a threshold from 0 to 1, found "
                f"{self.alpha}, {self.beta}, {self.most} and {self.threshold}"
            )


PAPER = Curiosity()
CODE_DIVISOR = {False: 2.0, True: 1.5}
"""By whether the question is about a video (authors' code)."""
CODE_SCALE = 0.25
"""Of the bonus in the authors' code."""


def looking_rate(calls: Any) -> Any:
    """RaPR of each group, shape (groups, 1): the share of its attempts that made at least one call (paper, eq. 1)."""
    xp = array_namespace(calls)
    return xp.mean(_as_float(xp, calls > 0, calls), axis=1, keepdims=True)


def bonus(calls: Any, settings: Curiosity = PAPER, video: bool = False) -> Any:
    """What each attempt gets for having looked; shape of ``calls``, (groups, G), the number of calls of each.

    paper: alpha * max(H - RaPR, 0) for those that looked. code: max(H - RaPR, 0) / d / RaPR * 0.25, with d 2 for
    images and 1.5 for videos. Attempts that did not look get 0.
    """
    xp = array_namespace(calls)
    rate = looking_rate(calls)
    looked = _as_float(xp, calls > 0, calls)
    room = xp.where(rate < settings.threshold, settings.threshold - rate, xp.zeros_like(rate))
    if settings.variant != "code":
        return settings.alpha * room * looked
    safe = xp.where(rate > 0, rate, xp.ones_like(rate))  # a group in which nobody looked gets nothing anyway
    return room / CODE_DIVISOR[video] / safe * CODE_SCALE * looked


def penalty(calls: Any, settings: Curiosity = PAPER) -> Any:
    """What each attempt pays for its calls above N, at most 0: beta * min(N - n, 0)."""
    xp = array_namespace(calls)
    over = _as_float(xp, calls, calls) - settings.most
    return -settings.beta * xp.where(over > 0, over, xp.zeros_like(over))


def curious(
    correct: Any,
    calls: Any,
    settings: Curiosity = PAPER,
    *,
    valid: Any = None,
    unresolved: Any = None,
    video: bool = False,
) -> Any:
    """The shaped reward r' of every attempt (paper, eq. 5): correctness + bonus + penalty; shape (groups, G).

    ``correct`` is 0 or 1 (the code also gives -1 to an answer that cannot be read). ``calls`` counts failed and refused
    calls too; variant ``valid`` needs ``valid``, the calls that succeeded, and uses them instead. Variant ``code``
    needs ``unresolved``: a right answer (above 0.5) behind an error that was not mended counts 0. Their program looks
    that flag up by the place within the group only, so that every group reads the first group's; ours is each
    attempt's own.
    """
    xp = array_namespace(calls)
    rewards = _as_float(xp, correct, calls)
    counted = calls
    if settings.variant == "valid":
        if valid is None:
            raise BadInput("the curiosity variant 'valid' needs the number of calls that succeeded (valid)")
        counted = valid
    if settings.variant == "code":
        if unresolved is None:
            raise BadInput("the curiosity variant 'code' needs to know which attempts ended in an error (unresolved)")
        spoilt = (rewards > 0.5) & (_as_float(xp, unresolved, calls) > 0)
        rewards = xp.where(spoilt, xp.zeros_like(rewards), rewards)
    return rewards + bonus(counted, settings, video) + penalty(counted, settings)


def uniform(rewards: Any, least: float = 0.01) -> Any:
    """(groups,) whether a group's rewards hardly differ: mean absolute deviation below ``least`` (authors' code).

    Their trainer drops such groups. With 8 right answers of which two looked, the paper's bonus makes 0.009375, so that
    the group is dropped and the bonus acts by itself only when a single attempt looked.
    """
    xp = array_namespace(rewards)
    values = _as_float(xp, rewards, rewards)
    middle = xp.mean(values, axis=1, keepdims=True)
    return xp.mean(xp.abs(values - middle), axis=1) < least


def _as_float(xp: Any, values: Any, like: Any) -> Any:
    kind = like.dtype if xp.isdtype(like.dtype, "real floating") else xp.float64
    return xp.astype(values, kind) if hasattr(values, "dtype") else xp.asarray(values, dtype=kind)


@dataclass
class Attempt:
    """What the reward needs to know of one attempt's looking."""

    calls: int
    valid: int
    unresolved: bool
    video: bool = False


class CuriosityReward:
    """Curiosity as a reward of TRL's, which sees whole groups: give it in place of a plain accuracy reward.

    ``correct`` is a reward with TRL's signature. How often an attempt looked is read from its environment
    (``environments``, as ``looker.environment.LookEnvironment`` keeps it). ``group`` is the trainer's
    ``num_generations``; this process's rows must be whole groups. Raises BadInput otherwise.
    """

    __name__ = "curiosity"

    def __init__(self, correct: Callable[..., list[float]], group: int, settings: Curiosity = PAPER) -> None:
        if group < 2:
            raise BadInput(f"curiosity compares attempts at one question; group must be at least 2, found {group}")
        self.correct, self.group, self.settings = correct, group, settings
        self.sums = Looks()

    def __call__(self, completions: Sequence[Any], environments: Sequence[Any] = (), **more: Any) -> list[float]:
        """The shaped reward of each completion."""
        import numpy as np

        if len(completions) % self.group:
            raise BadInput(
                f"curiosity needs whole groups: {len(completions)} completions on this process are no multiple of "
                f"{self.group}; choose a batch size per device that is"
            )
        if len(environments) != len(completions):
            raise BadInput("curiosity reads calls from environments; give the trainer environment_factory")
        rights = np.asarray(self.correct(completions=completions, **more), float).reshape(-1, self.group)
        attempts = [
            _with_unread(environment._attempt(), completion)
            for environment, completion in zip(environments, completions, strict=True)
        ]
        rewards = []
        for row, right in enumerate(rights):
            mine = attempts[row * self.group : (row + 1) * self.group]
            rewards.append(self._group(right[None], mine))
        log = more.get("log_metric")
        if log is not None:
            for name, value in self.sums.last.items():
                log(f"curiosity/{name}", value)
        return [float(value) for row in rewards for value in row]

    def _group(self, right: Any, attempts: Sequence[Attempt]) -> Any:
        import numpy as np

        calls = np.array([[attempt.calls for attempt in attempts]])
        valid = np.array([[attempt.valid for attempt in attempts]])
        unresolved = np.array([[attempt.unresolved for attempt in attempts]])
        video = attempts[0].video
        found = curious(right, calls, self.settings, valid=valid, unresolved=unresolved, video=video)
        counted = valid if self.settings.variant == "valid" else calls
        self.sums.add(found, counted, unresolved, (bonus(counted, self.settings, video), self.settings))
        return found[0]

    def vitals(self) -> list[Vital]:
        """Vital signs over all groups so far."""
        return self.sums.vitals(self.settings)

    def state_dict(self) -> dict[str, Any]:
        """What has been counted, for a checkpoint."""
        return dict(self.sums.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on counting from a checkpoint."""
        vars(self.sums).update(state)


def _with_unread(attempt: Attempt, completion: Any) -> Attempt:
    """The attempt with calls that TRL could not pass on (an unknown tool, wrong arguments), which count as failed."""
    turns = completion if isinstance(completion, list) else []
    made = sum(len(turn.get("tool_calls") or ()) for turn in turns if turn.get("role") == "assistant")
    if made <= attempt.calls:
        return attempt
    return Attempt(made, attempt.valid, attempt.unresolved or not attempt.calls, attempt.video)


class Looks:
    """Counts of how often attempts looked, and what curiosity made of it, over a whole training."""

    def __init__(self) -> None:
        self.attempts = self.looked = self.failed = self.groups = self.uniform = 0
        self.due = self.unpaid = 0
        """Groups below the threshold in which somebody looked; those of them without a bonus."""
        self.below = 0
        """Groups below the threshold."""
        self.bonus = self.penalty = 0.0
        self.histogram: dict[int, int] = {}
        """Groups by the number of attempts that looked."""
        self.last: dict[str, float] = {}

    def add(self, rewards: Any, calls: Any, unresolved: Any, paid: tuple[Any, Curiosity]) -> None:
        """Counts one group; arrays of shape (1, G)."""
        given, settings = paid
        size, looked = calls.shape[1], int((calls > 0).sum())
        self.groups += 1
        self.attempts += size
        self.looked += looked
        self.failed += int((unresolved & (calls > 0)).sum())
        self.uniform += int(uniform(rewards)[0])
        self.bonus += float(given.sum())
        self.penalty += float(penalty(calls, settings).sum())
        self.histogram[looked] = self.histogram.get(looked, 0) + 1
        if looked / size < settings.threshold:
            self.below += 1
            self.due += looked > 0
            self.unpaid += looked > 0 and not float(given.sum()) > 0
        self.last = {
            "rapr": self.looked / self.attempts,
            "error_rate": self.failed / max(self.looked, 1),
            "bonus": self.bonus / self.attempts,
            "penalty": self.penalty / self.attempts,
            "uniform": self.uniform / self.groups,
            **{f"looked_{k}": self.histogram[k] / self.groups for k in sorted(self.histogram)},
        }

    def vitals(self, settings: Curiosity) -> list[Vital]:
        """RaPR, errors, unpaid bonus and uniform groups, with their healthy ranges."""
        known = self.groups > 0
        return [
            Vital(
                "curiosity/rapr",
                self.looked / self.attempts if known else None,
                0.05,
                None,
                "Share of attempts that looked (RaPR); below 0.05 the model has given up its tools.",
            ),
            Vital(
                "curiosity/silent",
                1 - self.due / self.below if self.below else None,
                0,
                0.5,
                f"Share of groups with a rate of looking below {settings.threshold:g} in which nobody looked, so that "
                "no bonus can be paid: curiosity has nothing to hold on to.",
            ),
            Vital(
                "curiosity/unpaid",
                self.unpaid / self.due if self.due else None,
                0,
                0,
                "Share of groups in which somebody looked, too few did, and no bonus was paid; above 0 the calls are "
                "not counted (the fault of a released port).",
            ),
            Vital(
                "curiosity/errors",
                self.failed / self.looked if self.looked else None,
                0,
                0.5,
                "Share of the attempts that looked whose last call failed; high, the bonus is taken without looking.",
            ),
            Vital(
                "curiosity/uniform",
                self.uniform / self.groups if known else None,
                0,
                0.9,
                "Share of groups whose rewards hardly differ, which teach nothing.",
            ),
        ]

    def state_dict(self) -> Mapping[str, Any]:
        """Everything counted."""
        return dict(vars(self))
