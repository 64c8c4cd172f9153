"""A Llama-shaped model folder of any size with random bfloat16 weights, written tensor by tensor: for memory and speed.

The weights mean nothing; shapes, names, shards and number format are those of a real folder.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backcast.compress import shards
from backcast.core.files import write_json

LLAMA_3B = {
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 28,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "vocab_size": 128_256,
}
"""Llama 3.2 3B: 2.82 billion linear weights, 394 million in the tied embedding."""


def write_model(folder: Path, shape: dict[str, int], per_shard: int = 7, seed: int = 0) -> int:
    """Writes the folder with ``per_shard`` layers a shard, and the tokenizer of the tiny model; its bytes."""
    from transformers import LlamaConfig

    from backcast.lm.tiny import tiny_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    config = LlamaConfig(**shape, tie_word_embeddings=True, max_position_embeddings=4096)
    config.architectures = ["LlamaForCausalLM"]
    config.dtype = "bfloat16"
    config.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    draw = np.random.default_rng(seed)
    noise = bfloat16(draw.standard_normal(1 << 22).astype(np.float32) * 0.02)
    layers = shape["num_hidden_layers"]
    groups = [list(range(at, min(at + per_shard, layers))) for at in range(0, layers, per_shard)]
    where, total = {}, 0
    for number, group in enumerate(groups, 1):
        name = f"model-{number:05d}-of-{len(groups):05d}.safetensors"
        tensors = [part for layer in group for part in layer_shapes(layer, shape)]
        if number == 1:
            tensors.insert(0, ("model.embed_tokens.weight", (shape["vocab_size"], shape["hidden_size"])))
        if number == len(groups):
            tensors.append(("model.norm.weight", (shape["hidden_size"],)))
        parts = [later(tensor, size, noise, draw) for tensor, size in tensors]
        shards.write(folder / name, parts, {"format": "pt"})
        where |= {tensor: name for tensor, _ in tensors}
        total += sum(part[3].size for part in parts)
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": where})
    return sum(path.stat().st_size for path in folder.iterdir())


def layer_shapes(layer: int, shape: dict[str, int]) -> list[tuple[str, tuple[int, ...]]]:
    """The tensors of one decoder layer."""
    hidden, wide = shape["hidden_size"], shape["intermediate_size"]
    keys = hidden // shape["num_attention_heads"] * shape["num_key_value_heads"]
    base = f"model.layers.{layer}."
    matrices = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (wide, hidden),
        "mlp.up_proj": (wide, hidden),
        "mlp.down_proj": (hidden, wide),
    }
    found: list[tuple[str, tuple[int, ...]]] = [(f"{base}{name}.weight", size) for name, size in matrices.items()]
    return [*found, *((f"{base}{name}.weight", (hidden,)) for name in ("input_layernorm", "post_attention_layernorm"))]


def later(name: str, size: tuple[int, ...], noise: NDArray[np.uint16], draw: np.random.Generator) -> shards.Part:
    """A tensor made when it is written: the noise from a random place on, repeated; ones for norms."""
    count, start = int(np.prod(size)), int(draw.integers(len(noise)))

    def make() -> NDArray[np.uint16]:
        if len(size) == 1:
            return np.full(size, 0x3F80, dtype=np.uint16)
        return np.resize(np.roll(noise, -start), count)

    return name, "BF16", size, shards.Later(2 * count, make)


def bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper halves of the numbers' bits."""
    return (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
