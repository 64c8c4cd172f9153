"""A small vision-language model that can be taught to look on a CPU: its parts, made offline, with random weights.

The architecture is Qwen3-VL's. In Qwen2.5-VL's tower equal patches get equal features wherever they lie (its rotary
angles tell distances between patches only), so the place of a thing must come out of the decoder's angles, which a
small decoder learns late. Qwen3-VL's tower adds a learnt place to each patch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput
from backcast.lm.tiny import CLOSE, OPEN, PAD, VISION, tiny_tokenizer


@dataclass(frozen=True)
class Shape:
    """Sizes of the model; the defaults make about a million parameters."""

    hidden: int = 128
    """Width of the decoder."""
    layers: int = 4
    """Of the decoder."""
    heads: int = 4
    """Of the decoder; half as many for keys and values."""
    tower: int = 64
    """Width of the vision tower."""
    tower_layers: int = 3
    """Of the tower."""
    patch: int = 8
    """Side of a patch in pixels; four patches become one token."""
    cells: int = 6
    """Tokens along a side of every (square) picture."""
    wide: float = 0.08
    """Spread of the decoder's first weights; 0.02, the usual one, starts about three times slower at this size."""

    def __post_init__(self) -> None:
        if min(self.hidden, self.layers, self.heads, self.tower, self.tower_layers, self.patch, self.cells) < 1:
            raise BadInput("every size of a small model must be at least 1")
        if self.hidden % (4 * self.heads) or self.tower % 16 or self.heads % 2:
            raise BadInput("hidden must be a multiple of 4 x heads, tower of 16, and heads even")


def small_sight(template: str, phrases: Sequence[str], shape: Shape = Shape(), seed: int = 0) -> tuple[Any, Any]:
    """(model, processor): random weights, a tokenizer that reads each of ``phrases`` as one token.

    Any other text is read in bytes and short pieces. Every square picture becomes ``cells`` by ``cells`` tokens. The
    same arguments give the same weights.
    """
    import torch
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    processor = _processor(template, phrases, shape)
    ids = {token: processor.tokenizer.convert_tokens_to_ids(token) for token in (PAD, OPEN, CLOSE, *VISION)}
    width = shape.hidden // shape.heads
    third = width // 2 // 3
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_interleaved": True}
    text = {
        "vocab_size": len(processor.tokenizer),
        "hidden_size": shape.hidden,
        "intermediate_size": 3 * shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads // 2,
        "head_dim": width,
        "max_position_embeddings": 4096,
        "initializer_range": shape.wide,
        "rope_parameters": {**rope, "mrope_section": [width // 2 - 2 * third, third, third]},
        "bos_token_id": ids[OPEN],
        "eos_token_id": ids[CLOSE],
        "pad_token_id": ids[PAD],
    }
    vision = {
        "depth": shape.tower_layers,
        "hidden_size": shape.tower,
        "intermediate_size": 2 * shape.tower,
        "num_heads": 4,
        "out_hidden_size": shape.hidden,
        "patch_size": shape.patch,
        "deepstack_visual_indexes": [],
        "initializer_range": 0.05,
        "num_position_embeddings": (2 * shape.cells) ** 2,
    }
    config = Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        vision_start_token_id=ids[VISION[0]],
        image_token_id=ids[VISION[1]],
        vision_end_token_id=ids[VISION[2]],
        video_token_id=ids[VISION[3]],
        tie_word_embeddings=True,
        dtype=torch.float32,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3VLForConditionalGeneration(config)
    with torch.no_grad():
        model.model.visual.pos_embed.weight.copy_(_places(2 * shape.cells, shape.tower))
    model.generation_config.eos_token_id = ids[CLOSE]
    return model, processor


def _places(side: int, width: int) -> Any:
    """(side * side, width): sines and cosines of each patch's row and column, to be learnt on from there."""
    import torch

    count = width // 4
    angles = torch.arange(side)[:, None] * torch.pi / side * 2 ** torch.linspace(-1, 3, count)
    code = torch.cat([angles.sin(), angles.cos()], 1)
    return torch.cat([code[:, None].expand(-1, side, -1), code[None].expand(side, -1, -1)], 2).reshape(-1, width)


def _processor(template: str, phrases: Sequence[str], shape: Shape) -> Any:
    from tokenizers import AddedToken
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    from backcast.lm.processors import images_only

    tokenizer = tiny_tokenizer(300)
    tokenizer.add_special_tokens({"additional_special_tokens": VISION})
    tokenizer.add_tokens([AddedToken(phrase, normalized=False) for phrase in dict.fromkeys(phrases)])
    tokenizer.chat_template = template
    tokenizer.padding_side = "left"  # as generation needs it
    pixels = shape.cells**2 * (2 * shape.patch) ** 2
    images = Qwen2VLImageProcessorPil(
        patch_size=shape.patch,
        merge_size=2,
        temporal_patch_size=2,
        size={"shortest_edge": pixels, "longest_edge": pixels},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return images_only("qwen3_vl", images, tokenizer, template)


def save_sight(model: Any, processor: Any, folder: Path) -> Path:
    """Saves model and processor as a Hugging Face folder, laid out as the stock ones are."""
    from backcast.lm.models import no_bars

    with no_bars():
        model.save_pretrained(folder)
    processor.image_processor.save_pretrained(folder)
    processor.tokenizer.save_pretrained(folder)
    return folder
