"""Which layers of a model folder can be packed, by building its skeleton without weights."""

import json
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from backcast.compress import shards
from backcast.core.errors import BadInput, nearest

HEAD = "the output head: its errors go straight into every token"


@dataclass(frozen=True)
class Layers:
    """What there is to pack."""

    linear: list[str]
    """Names of linear and convolution layers (as in the files, without ``.weight``), in the model's order."""
    untouched: dict[str, str]
    """Other layers with weight matrices, and why they stay as they are."""
    vocabulary: list[str] = field(default_factory=list)
    """The input embedding, and the output head if that has weights of its own: packed only when asked for."""
    modules: dict[str, str] = field(default_factory=dict)
    """Of layers that transformers names otherwise than the files do (vision-language models): their names in it."""


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of a model folder; raises BadInput when it is missing, broken, or of a packed model."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        raise BadInput(f"'{folder}' is no model folder: it has no config.json") from None
    except ValueError as error:
        raise BadInput(f"'{path}' is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise BadInput(f"'{path}' is no model configuration: it holds a {type(config).__name__}, not an object")
    if config.get("quantization_config"):
        method = config["quantization_config"].get("quant_method", "unknown")
        raise BadInput(
            f"'{folder}' is packed already (quant_method '{method}'); compress the original model, "
            "since packing twice adds the errors of both"
        )
    return config


def find_layers(folder: Path) -> Layers:
    """Linear and convolution layers of the model in ``folder``; the head, tied and all other layers stay as they are.

    Raises BadInput when transformers does not know the architecture, or when the folder needs code of its own.
    """
    import torch
    from torch import nn
    from transformers import AutoConfig

    from backcast.lm.models import refuse_code

    refuse_code(folder)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model = _class_of(config)(config)
    except (ValueError, KeyError, OSError, AttributeError, ImportError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise BadInput(
            f"transformers cannot build the model of '{folder}': {reason}; without its skeleton no layer is known"
        ) from error
    stored = _stored_names(model, folder)
    linear, untouched, vocabulary = [], {}, []
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    shared = getattr(config, "tie_word_embeddings", False)  # the outer word is the one transformers heeds
    embedding = model.get_input_embeddings() if head is not None else None
    whole = set(getattr(model, "_keep_in_fp32_modules", None) or ())
    for module_name, module in model.named_modules():
        name = stored.get(module_name, module_name)
        matrices = [key for key, values in module.named_parameters(recurse=False) if values.dim() >= 2]
        if not matrices:
            continue
        if (module is embedding and type(module) is nn.Embedding) or (module is head and not shared):
            vocabulary.append(name)
        if module is head:
            untouched[name] = HEAD
        elif type(module) not in (nn.Linear, nn.Conv1d, nn.Conv2d):
            untouched[name] = f"a {type(module).__name__}, which is neither a linear layer nor a convolution"
        elif isinstance(module, nn.Conv1d) and module.groups == module.in_channels > 1:
            untouched[name] = "a convolution of single channels: few weights, and some models read them directly"
        elif whole.intersection(module_name.split(".")):
            untouched[name] = "the model itself wants it in float32"
        else:
            linear.append(name)
    named = {name: module for module, name in stored.items() if name != module}
    return Layers(linear, untouched, vocabulary, named)


def _stored_names(model: Any, folder: Path) -> dict[str, str]:
    """Names in the files, by names of the modules: transformers renames those of some families as it loads them.

    Raises BadInput for a tensor whose shape is not the one that ``config.json`` gives it.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    rules = [rule for rule in get_model_conversion_mapping(model) if isinstance(rule, WeightRenaming)]
    state = model.state_dict()
    found = {}
    for path in shards.source_shards(folder):
        for entry in shards.read_header(path)[0]:
            renamed = entry.name
            if renamed not in state:
                renamed, _ = rename_source_key(entry.name, rules, [], model.base_model_prefix, state)
            if renamed not in state:
                continue
            if tuple(state[renamed].shape) != entry.shape:
                raise BadInput(
                    f"'{entry.name}' in '{path}' has the shape {list(entry.shape)}, and config.json makes it "
                    f"{list(state[renamed].shape)}; are both of one model?"
                )
            if entry.name.endswith(".weight"):
                found[renamed.removesuffix(".weight")] = entry.name.removesuffix(".weight")
    return found


def continues_text(config: dict[str, Any]) -> bool:
    """Whether ``AutoModelForCausalLM`` loads the class that the folder was saved from (or the folder names none)."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    names = config.get("architectures") or []
    known = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    return not names or any(name in known or name.endswith("ForCausalLM") for name in names)


def choose(layers: Layers, include: tuple[str, ...], exclude: tuple[str, ...]) -> list[str]:
    """The linear layers that match a pattern of ``include`` (all, if there is none) and none of ``exclude``.

    Raises BadInput for a pattern that matches no layer, and when nothing is left.
    """
    if not layers.linear:
        firsts = {why: name for name, why in reversed(layers.untouched.items())}
        others = "; ".join(f"'{name}' is {why}" for why, name in sorted(firsts.items()))
        raise BadInput(f"the model has no linear or convolution layer that can be packed: {others or 'no matrices'}")
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
