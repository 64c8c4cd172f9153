"""Constants of the papers as presets: each value with its source; what a paper leaves unsaid is marked "ours".

``grpo_values`` gives what goes into TRL's ``GRPOConfig``, ``parts`` the shapers and rethinking that belong to it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backcast.core.errors import BadInput, nearest


@dataclass(frozen=True)
class Constant:
    """A value and where it comes from."""

    value: Any
    source: str
    """"paper", "code" (the authors' repository), another paper's name, or "ours"."""


_OURS = "ours: the paper does not say"
_DAPO = "DAPO (2503.14476)"
_REPLICATION = "a replication by others; not stated where the AlphaMed paper could be read"
_RETHINKER = "VL-Rethinker paper and code"
_CODE = "VL-Rethinker code; the paper does not say"

_PLAIN = {
    "num_generations": Constant(8, _OURS),
    "temperature": Constant(1.0, _OURS),
    "top_p": Constant(1.0, "ours: log-probabilities in the loss are those of the full softmax"),
    "top_k": Constant(0, "ours: log-probabilities in the loss are those of the full softmax"),
    "learning_rate": Constant(1e-6, _OURS),
    "beta": Constant(0.0, _OURS),
    "max_grad_norm": Constant(1.0, _OURS),
}

PRESETS: dict[str, dict[str, Constant]] = {
    "grpo": {
        **_PLAIN,
        "advantage": Constant("std_sample", "TRL's default (GRPO, 2402.03300, divides by the standard deviation)"),
        "loss_type": Constant("grpo", "2402.03300: mean per answer, then over answers"),
        "epsilon": Constant(0.2, "2402.03300 through PPO's usual value"),
        "epsilon_high": Constant(0.2, "2402.03300 through PPO's usual value"),
        "beta": Constant(0.04, "2402.03300"),
        "num_generations": Constant(64, "2402.03300"),
        "learning_rate": Constant(1e-6, "2402.03300"),
        "max_completion_length": Constant(1024, "2402.03300"),
        "batch": Constant(1024, "2402.03300"),
    },
    "dapo": {
        **_PLAIN,
        "advantage": Constant("std_sample", _DAPO),
        "loss_type": Constant("dapo", _DAPO),
        "epsilon": Constant(0.2, _DAPO),
        "epsilon_high": Constant(0.28, _DAPO),
        "beta": Constant(0.0, _DAPO),
        "num_generations": Constant(16, _DAPO),
        "max_completion_length": Constant(20480, f"{_DAPO}: 16384, and 4096 more that are punished"),
        "batch": Constant(512, f"{_DAPO}: 16 updates to a sampling of 512 prompts"),
        "learning_rate": Constant(1e-6, _DAPO),
        "filter": Constant(
            True, f"{_DAPO}: dynamic sampling; here by repeats within the batch, as VL-Rethinker equates"
        ),
    },
    "hicra": {
        **_PLAIN,
        "advantage": Constant("center", "HICRA paper, equation of the advantage: no division"),
        "loss_type": Constant("dapo", _OURS),
        "epsilon": Constant(0.2, "ours: the paper says clip-higher and no value; DAPO's"),
        "epsilon_high": Constant(0.28, "ours: the paper says clip-higher and no value; DAPO's"),
        "alpha": Constant(0.2, "HICRA paper: 0.2 throughout"),
        "max_completion_length": Constant(
            16384, "HICRA paper: a context of 16K (raised to 32K once a fifth of the answers is cut)"
        ),
        "batch": Constant(512, _OURS),
        "gram_words": Constant((3, 5), "HICRA paper"),
        "gram_top": Constant(0.2, "HICRA paper"),
    },
    "alphamed": {
        **_PLAIN,
        "advantage": Constant("center", _OURS),
        "loss_type": Constant("dapo", _OURS),
        "epsilon": Constant(0.2, _REPLICATION),
        "epsilon_high": Constant(0.28, _REPLICATION),
        "num_generations": Constant(8, _REPLICATION),
    },
    "vl_rethinker": {
        **_PLAIN,
        "advantage": Constant("center", "VL-Rethinker code; the paper says normalised"),
        "loss_type": Constant("bnpo", "VL-Rethinker code: token mean of the micro-batch"),
        "epsilon": Constant(0.2, _CODE),
        "epsilon_high": Constant(0.35, "VL-Rethinker code, where it is written in and the flag ignored"),
        "num_generations": Constant(8, _RETHINKER),
        "batch": Constant(512, _RETHINKER),
        "max_completion_length": Constant(2048, _CODE),
        "num_train_epochs": Constant(3, "VL-Rethinker paper: at most three passes over the data"),
        "learning_rate": Constant(1e-6, _CODE),
        "adam_beta1": Constant(0.9, _CODE),
        "adam_beta2": Constant(0.95, _CODE),
        "warmup_steps": Constant(0.03, f"{_CODE}: a share of all steps"),
        "lr_scheduler_type": Constant("cosine_with_min_lr", _CODE),
        "lr_scheduler_kwargs": Constant({"min_lr_rate": 0.5}, f"{_CODE}: its message says 0.1, it passes 0.5"),
        "beta": Constant(0.0, _RETHINKER),
        "temperature": Constant(1.0, _CODE),
        "max_grad_norm": Constant(1.0, _CODE),
        "replay_alpha": Constant(1.0, "VL-Rethinker paper"),
        "episode": Constant(16, "paper: 1024 prompts of 8 answers in batches of 512, then the buffer is cleared"),
        "share": Constant(0.65, "VL-Rethinker code; the paper says a fraction q"),
        "quota": Constant(2, _RETHINKER),
        "imitate": Constant(0.05, _CODE),
        "rethink_temperature": Constant(0.9, _CODE),
    },
}

_OWN = {
    "batch",
    "advantage",
    "filter",
    "alpha",
    "gram_words",
    "gram_top",
    "replay_alpha",
    "episode",
    "share",
    "quota",
    "imitate",
    "rethink_temperature",
}
"""Constants that are none of TRL's; ``batch`` counts the answers in one optimiser step."""


def preset(name: str) -> dict[str, Constant]:
    """The constants of a preset, one of ``PRESETS``; BadInput for any other name."""
    if name not in PRESETS:
        raise BadInput(f"unknown preset '{name}'{nearest(name, PRESETS)}")
    return dict(PRESETS[name])


def grpo_values(name: str) -> dict[str, Any]:
    """What a preset puts into ``GRPOConfig``; ``batch`` is left to the user (devices x rows x accumulation)."""
    return {key: constant.value for key, constant in preset(name).items() if key not in _OWN}


def parts(
    name: str, grams: Sequence[str] | None = None, triggers: Mapping[Any, Sequence[str]] | None = None
) -> dict[str, Any]:
    """What a preset hands to ``GroupTrainer`` besides: ``advantage``, ``shapers`` and ``rethink``.

    ``grams`` and ``triggers`` replace our English lists, for other languages and domains.
    """
    from backcast.learn.hicra import PlanningCredit
    from backcast.learn.replay import FilterFlat, SampleReplay
    from backcast.learn.rethink import ForcedRethink

    values = {key: constant.value for key, constant in preset(name).items()}
    found: dict[str, Any] = {"advantage": values["advantage"], "shapers": [], "rethink": None}
    if "filter" in values:
        found["shapers"].append(FilterFlat())
    if "replay_alpha" in values:
        found["shapers"].append(SampleReplay(values["replay_alpha"], episode=values["episode"]))
    if "alpha" in values:
        found["shapers"].append(PlanningCredit(grams, alpha=values["alpha"]))
    if "share" in values:
        words: dict[str, Any] = {} if triggers is None else {"triggers": triggers}
        found["rethink"] = ForcedRethink(
            values["share"], values["quota"], values["imitate"], temperature=values["rethink_temperature"], **words
        )
    return found
