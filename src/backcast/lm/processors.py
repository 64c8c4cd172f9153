"""The processor of a vision-language model's folder: its tokenizer, template and image processing, without torchvision.

torchvision is not among our dependencies (its registry build does not match the CPU build of torch), and transformers
refuses to open a processor whose video part needs it, although its image part does not. ``open_processor`` then puts
the stock image processor (its Pillow variant) and the tokenizer together without the video part.
"""

from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput

_MARKS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
}
"""Of the Qwen-VL families."""

_STOCK = {
    "qwen2_vl": "Qwen2VLProcessor",
    "qwen2_5_vl": "Qwen2_5_VLProcessor",
    "qwen3_vl": "Qwen3VLProcessor",
}
"""Model types whose processor works without its video part."""


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
    except ImportError as error:
        if config.model_type not in _STOCK:
            raise BadInput(f"the processor of '{folder}' cannot be opened: {_first_line(error)}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"the processor of '{folder}' cannot be opened: {_first_line(error)}") from error
    try:
        pixels = images.from_pretrained(folder, **only)
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, **only)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise BadInput(f"the processor of '{folder}' cannot be opened: {_first_line(error)}") from error
    return images_only(config.model_type, pixels, tokenizer, tokenizer.chat_template)


def images_only(model_type: str, pixels: Any, tokenizer: Any, template: str | None) -> Any:
    """A stock processor of the Qwen-VL families without its video part, which would need torchvision."""
    import transformers
    from transformers import ProcessorMixin

    stock: Any = getattr(transformers, _STOCK[model_type])

    class ImagesOnly(stock):  # type: ignore[misc]
        """The stock processor without its video part."""

        def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None) -> None:
            for name, mark in _MARKS.items():
                setattr(self, name, mark)
                setattr(self, f"{name}_id", tokenizer.convert_tokens_to_ids(mark))
            parent: Any = ProcessorMixin  # untyped upstream
            parent.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    return ImagesOnly(pixels, tokenizer, chat_template=template)


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:300]
