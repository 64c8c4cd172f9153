"""What language-model work is expected to take: a rough model of tokens, for ``--dry-run`` and the plan before a run.

Measured on two idle CPU cores with 135 million parameters in float32 (docs/log.md): 109 sampled tokens a second in
batches of 8, 500 scored, 250 trained. Time goes with the number of parameters; a GPU is taken to be fifty times faster.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from backcast.lm.models import ALIASES, is_endpoint, resolve

REFERENCE = 135e6
SAMPLED, SCORED, TRAINED = 109.0, 500.0, 250.0
"""Tokens a second of the reference."""
CHARACTERS_PER_TOKEN = 4.3
PARAMETERS = {"smollm2": 135e6, "gemma3-270m": 268e6, "qwen-0.5b": 630e6}


@dataclass(frozen=True)
class Work:
    """Tokens that a stage moves through one model."""

    sampled: float = 0.0
    scored: float = 0.0
    trained: float = 0.0

    def seconds(self, model: str) -> float:
        """Expected wall time on this machine."""
        plain = self.sampled / SAMPLED + self.scored / SCORED + self.trained / TRAINED
        if is_endpoint(model):
            return plain / 10
        return plain * parameters(model) / REFERENCE * _slowness()


def check(model: str) -> None:
    """Raises BadInput for a model that plainly is not there, before anything is fetched or begun."""
    path = Path(model).expanduser()
    if is_endpoint(model) or model in ALIASES:
        return
    is_path = model.startswith((".", "~", "/")) or model.count("/") > 1
    if path.is_dir() or is_path or "/" not in model or (model.endswith(".gguf") and not path.exists()):
        resolve(model)


def memory(model: str, training: bool = False) -> float:
    """Expected peak memory of this process in GB: weights in float32, one batch, and room for the libraries."""
    if is_endpoint(model):
        return 0.5
    return 1.0 + parameters(model) * 4e-9 * (3.0 if training else 1.0) + (3.0 if training else 1.5)


def parameters(model: str) -> float:
    """How many parameters a model has, read from the heads of its files; the reference's number if it is not here."""
    if model in ALIASES:
        return PARAMETERS[model]
    files = sorted(Path(model).glob("*.safetensors")) if Path(model).is_dir() else []
    return sum(map(_count, files)) or REFERENCE


def _count(path: Path) -> float:
    with path.open("rb") as file:
        head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    total = 0.0
    for name, tensor in head.items():
        if name != "__metadata__":
            size = 1.0
            for length in tensor["shape"]:
                size *= length
            total += size
    return total


def _slowness() -> float:
    # nvidia's driver file tells a GPU without importing torch, which takes seconds.
    if Path("/proc/driver/nvidia/version").exists():
        return 1 / 50
    return max(0.25, 2 / (os.cpu_count() or 2))
