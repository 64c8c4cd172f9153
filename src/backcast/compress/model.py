"""Which layers of a model folder can be packed, by building its skeleton without weights."""

import json
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput, nearest

HEAD = "the output head: its errors go straight into every token"


@dataclass(frozen=True)
class Layers:
    """What there is to pack."""

    linear: list[str]
    """Names of linear and convolution layers (without ``.weight``), in the model's order."""
    untouched: dict[str, str]
    """Other layers with weight matrices, and why they stay as they are."""
    vocabulary: list[str] = field(default_factory=list)
    """The input embedding, and the output head if that has weights of its own: packed only when asked for."""


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of a model folder; raises BadInput when it is missing, broken, or of a packed model."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        raise BadInput(f"'{folder}' is no model folder: it has no config.json") from None
    except ValueError as error:
        raise BadInput(f"'{path}' is not JSON: {error}") from None
    if config.get("quantization_config"):
        method = config["quantization_config"].get("quant_method", "unknown")
        raise BadInput(
            f"'{folder}' is packed already (quant_method '{method}'); compress the original model, "
            "since packing twice adds the errors of both"
        )
    return config  # type: ignore[no-any-return]


def find_layers(folder: Path) -> Layers:
    """Linear and convolution layers of the model in ``folder``; the head, tied and all other layers stay as they are.

    Raises BadInput when transformers does not know the architecture.
    """
    import torch
    from torch import nn
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            model = _class_of(config)(config)
    except (ValueError, KeyError, OSError, AttributeError, ImportError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise BadInput(
            f"transformers cannot build the model of '{folder}': {reason}; without its skeleton no layer is known"
        ) from error
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    linear, untouched, vocabulary = [], {}, []
    shared = getattr(config.get_text_config(), "tie_word_embeddings", False)
    embedding = model.get_input_embeddings() if head is not None else None
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if weight is None or weight.dim() < 2:
            continue
        if (module is embedding and type(module) is nn.Embedding) or (module is head and not shared):
            vocabulary.append(name)
        if module is head:
            untouched[name] = HEAD
        elif type(module) in (nn.Linear, nn.Conv1d, nn.Conv2d):
            linear.append(name)
        else:
            untouched[name] = f"a {type(module).__name__}, which is neither a linear layer nor a convolution"
    return Layers(linear, untouched, vocabulary)


def choose(layers: Layers, include: tuple[str, ...], exclude: tuple[str, ...]) -> list[str]:
    """The linear layers that match a pattern of ``include`` (all, if there is none) and none of ``exclude``.

    Raises BadInput for a pattern that matches no layer, and when nothing is left.
    """
    for pattern in (*include, *exclude):
        if not any(fnmatch(name, pattern) for name in layers.linear):
            raise BadInput(f"no linear or convolution layer matches '{pattern}'{nearest(pattern, layers.linear[:40])}")
    chosen = [
        name
        for name in layers.linear
        if (not include or any(fnmatch(name, pattern) for pattern in include))
        and not any(fnmatch(name, pattern) for pattern in exclude)
    ]
    if not chosen:
        raise BadInput("no layer is left to compress; loosen --include and --exclude")
    return chosen


def _class_of(config: Any) -> Any:
    import transformers

    names = list(getattr(config, "architectures", None) or [])
    found = next((getattr(transformers, name) for name in names if hasattr(transformers, name)), None)
    if found is not None:
        return found
    return transformers.AutoModelForCausalLM.from_config
