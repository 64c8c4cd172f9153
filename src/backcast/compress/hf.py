"""transformers learns to load packed models: ``import backcast.compress``, then plain ``from_pretrained``.

Importing this module registers the quantizer; ``backcast.compress`` does it as soon as transformers is there. Without
it a packed folder does not load: its configuration names a weights file that says which line is missing.
"""

from typing import Any

import torch
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from backcast.compress.guard import GUARD, METHOD, VERSION
from backcast.compress.layout import Layout
from backcast.compress.packed import PackedConv, PackedEmbedding, PackedLinear
from backcast.core.errors import BadInput


@register_quantization_config(METHOD)
class PackedConfig(QuantizationConfigMixin):
    """What ``config.json`` says of a packed model: the layout of every packed layer, and how it was made."""

    def __init__(
        self,
        layers: dict[str, dict[str, Any]],
        version: int,
        about: dict[str, Any] | None = None,
        shapes: dict[str, list[int]] | None = None,
        vocabulary: list[str] | None = None,
        modules: dict[str, str] | None = None,
        **others: Any,
    ) -> None:
        del others
        if version != VERSION:
            raise BadInput(
                f"packed in form {version}, and this backcast reads form {VERSION}; install the other release"
            )
        self.quant_method: Any = METHOD
        self.version = version
        self.layers = layers
        self.about = about or {}
        self.shapes = shapes or {}
        """Of layers that are no matrices: convolutions."""
        self.vocabulary = vocabulary or []
        """Which of the layers are embedding and head."""
        self.modules = modules or {}
        """Of layers that transformers names otherwise than the files do: their names in the model."""


@register_quantizer(METHOD)
class PackedQuantizer(HfQuantizer):
    """Puts packed layers in place before the weights are read. Nothing is quantised at load time."""

    requires_calibration = True
    quantization_config: PackedConfig

    def update_attn_implementation(self, config: Any) -> Any:
        """The first look at the model's configuration: takes the guard out, so that the real weights are found."""
        if getattr(config, "transformers_weights", None) == GUARD:
            del config.transformers_weights
        return config

    def _process_model_before_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        del kwargs
        modules = dict(model.named_modules())
        prefix = getattr(model, "base_model_prefix", "") + "."
        for stored, plain in self.quantization_config.layers.items():
            name = self.quantization_config.modules.get(stored, stored)
            # The bare model (AutoModel) has no prefix, the one with a head has.
            place = next((path for path in (name, name.removeprefix(prefix), prefix + name) if path in modules), None)
            if place is None:
                raise BadInput(f"the packed layer '{name}' is not in a {type(model).__name__}; was config.json edited?")
            old = modules[place]
            layout = Layout(**plain)
            packed: Any
            if isinstance(old, (torch.nn.Conv1d, torch.nn.Conv2d)):
                packed = PackedConv(layout, old, device="meta")
            elif isinstance(old, torch.nn.Embedding):
                packed = PackedEmbedding(layout, old, device="meta")
            else:
                dtype = old.bias.dtype if old.bias is not None else None
                packed = PackedLinear(layout, bias=old.bias is not None, device="meta", dtype=dtype)
            # Some families initialise layers by their fan-in, which bytes do not have; the file has every value.
            packed._is_hf_initialized = True
            model.set_submodule(place, packed)
        head, embedding = _vocabulary(model)
        tied = getattr(model.config, "tie_word_embeddings", False)
        if tied and isinstance(embedding, PackedEmbedding) and head is not None:
            shared: Any = PackedLinear(embedding.layout, bias=head.bias is not None, device="meta", own=False)
            shared._is_hf_initialized = True
            model.set_output_embeddings(shared)
        return model

    def _process_model_after_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        del kwargs
        head, embedding = _vocabulary(model)
        if isinstance(embedding, PackedEmbedding) and isinstance(head, PackedLinear) and not head.own:
            head.weight = embedding.weight
            for name in embedding.layout.shapes():
                if name != "weight":  # transformers ties parameters; the integers beside the codes are tied here
                    head.register_buffer(name, getattr(embedding, name), persistent=False)
        return model

    def is_serializable(self) -> bool:
        """Packed tensors are saved as they are."""
        return True

    @property
    def is_trainable(self) -> bool:
        """Adapters train on top; the packed weights stay."""
        return True


def _vocabulary(model: Any) -> tuple[Any, Any]:
    """(output head, input embedding); None for what a model does not have."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    try:
        return head, model.get_input_embeddings()
    except NotImplementedError:  # vision models say it so
        return head, None
