"""The processor of a vision-language model's folder: its tokenizer, template and image processing, without torchvision.

torchvision is not among our dependencies (its registry build does not match the CPU build of torch), and transformers
refuses to open a processor whose video part needs it, although its image part does not. ``open_processor`` then puts
the stock image processor (its Pillow variant) and the tokenizer together without the video part.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput

_QWEN = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
}
_SMOL = {
    "image_token": "<image>",
    "video_token": "<video>",
    "fake_image_token": "<fake_token_around_image>",
    "global_image_token": "<global-img>",
    "end_of_utterance_token": "<end_of_utterance>",
}
"""The marks that a processor of each family knows."""

_STOCK = {
    "qwen2_vl": ("Qwen2VLProcessor", _QWEN),
    "qwen2_5_vl": ("Qwen2_5_VLProcessor", _QWEN),
    "qwen3_vl": ("Qwen3VLProcessor", _QWEN),
    "smolvlm": ("SmolVLMProcessor", _SMOL),
}
"""Model types whose processor works without its video part; Idefics3 and others that have none need no help."""


def open_processor(folder: Path) -> Any:
    """The processor of a Hugging Face folder, with its tokenizer and chat template.

    Raises BadInput for a folder whose model takes no pictures, or whose processor cannot be had here.
    """
    from transformers import AutoConfig, AutoImageProcessor, AutoProcessor, AutoTokenizer

    whole: Any = AutoProcessor  # untyped upstream
    images: Any = AutoImageProcessor
    only: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(folder, **only)
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"'{folder}' cannot be read: {_first_line(error)}") from error
    if not hasattr(config, "vision_config"):
        raise BadInput(
            f"'{folder}' is a model of type '{config.model_type}', which takes no pictures; "
            "give a vision-language model (Qwen2.5-VL, Qwen3-VL, SmolVLM, ...)"
        )
    try:
        return whole.from_pretrained(folder, **only)
    except (ImportError, OSError, ValueError, KeyError, TypeError) as error:
        # ImportError: torchvision. OSError: a folder that was saved without its video part.
        if config.model_type not in _STOCK:
            raise BadInput(f"the processor of '{folder}' cannot be opened: {_first_line(error)}") from error
    try:
        pixels = images.from_pretrained(folder, **only)
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, **only)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise BadInput(f"the processor of '{folder}' cannot be opened: {_first_line(error)}") from error
    return images_only(config.model_type, pixels, tokenizer, tokenizer.chat_template, _own_settings(folder))


def images_only(
    model_type: str, pixels: Any, tokenizer: Any, template: str | None, own: Mapping[str, Any] | None = None
) -> Any:
    """A stock processor without its video part, which would need torchvision.

    ``own`` are settings of the processor itself (SmolVLM: ``image_seq_len``, the tokens of one tile).
    """
    import transformers
    from transformers import ProcessorMixin

    name, marks = _STOCK[model_type]
    stock: Any = getattr(transformers, name)

    class ImagesOnly(stock):  # type: ignore[misc]
        """The stock processor without its video part."""

        def __init__(
            self,
            image_processor: Any = None,
            tokenizer: Any = None,
            image_seq_len: int | None = None,  # what is named here is saved with the processor
            chat_template: Any = None,
        ) -> None:
            for mark, token in marks.items():
                setattr(self, mark, token)
                setattr(self, f"{mark}_id", tokenizer.convert_tokens_to_ids(token))
            if image_seq_len is not None:
                self.image_seq_len = image_seq_len
            parent: Any = ProcessorMixin  # untyped upstream
            parent.__init__(self, image_processor, tokenizer, chat_template=chat_template)

        def apply_chat_template(self, *arguments: Any, **settings: Any) -> Any:
            """As every processor's; SmolVLM's own asks its video part for the number of frames."""
            parent: Any = ProcessorMixin
            return parent.apply_chat_template(self, *arguments, **settings)

    ImagesOnly.__name__ = name  # what a saved folder says its processor is: the stock one
    # 169 is the stock default.
    tile = int((own or {}).get("image_seq_len", 169)) if model_type == "smolvlm" else None
    return ImagesOnly(pixels, tokenizer, tile, chat_template=template)


def _own_settings(folder: Path) -> dict[str, Any]:
    """What ``processor_config.json`` says beside the parts' own settings."""
    file = folder / "processor_config.json"
    if not file.exists():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"'{file}' is not JSON ({error}); copy it from the model again") from None
    return found if isinstance(found, dict) else {}


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:300]
