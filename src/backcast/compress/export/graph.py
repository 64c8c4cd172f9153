"""An ONNX graph of a whole decoder of the Llama family: token ids in, logits out, packed weights as they are.

Batches of one length, no padding and no cache of keys and values: what a runtime needs to give the model's logits.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from backcast.compress import shards
from backcast.compress.export.dense import card, copy_small, plain_config
from backcast.compress.export.matrices import grid_floats, packed_product
from backcast.compress.export.onnx_file import GraphFile
from backcast.compress.opened import Opened
from backcast.core.errors import BadInput, WorkFailed
from backcast.core.files import write_atomic, write_json

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
TEXT = "The river rises in the hills and runs to the sea; " * 4
"""What both read when they are compared."""

TOLERANCE = 1e-4
"""Largest difference of logits from the packed model's, relative to the largest logit."""


def write(opened: Opened, out: Path, rest: str | None) -> dict[str, Any]:
    """Writes ``model.onnx`` and its data; runs it in onnxruntime and compares the logits with the packed model's.

    Raises BadInput for another family, WorkFailed when the logits differ by more than ``TOLERANCE``.
    """
    if rest is not None:
        raise BadInput("--rest does not belong to onnx, which holds every packed layer as it is; leave it out")
    _check(opened.config)
    graph = GraphFile(out)
    _Decoder(opened, graph, Shape.of(opened.config)).build()
    copy_small(opened.folder, out)
    write_json(out / "config.json", plain_config(opened, "float32"))
    write_atomic(out / "README.md", card(opened, "an ONNX graph"))
    worst = _compare(opened, out)
    return {"rest": None, "lossless": True, "extra_relative_mse": 0.0, "logits_differ": worst}


def _check(config: dict[str, Any]) -> None:
    kind = config.get("model_type")
    if kind not in FAMILIES:
        raise BadInput(f"--to onnx draws {', '.join(FAMILIES)}, not '{kind}'; --to dense holds any family")
    if config.get("hidden_act", "silu") != "silu":
        raise BadInput(f"--to onnx draws gated layers with silu, not '{config['hidden_act']}'; use --to dense")
    if config.get("sliding_window") and config.get("use_sliding_window", True):
        raise BadInput("--to onnx does not draw sliding-window attention; use --to dense")


@dataclass(frozen=True)
class Shape:
    """The numbers of a decoder."""

    layers: int
    heads: int
    groups: int
    """Heads of keys and values."""
    size: int
    """Of a head."""
    epsilon: float

    @classmethod
    def of(cls, config: dict[str, Any]) -> "Shape":
        """Reads ``config.json``."""
        heads = config["num_attention_heads"]
        size = config.get("head_dim") or config["hidden_size"] // heads
        groups = config.get("num_key_value_heads") or heads
        return cls(config["num_hidden_layers"], heads, groups, size, config["rms_norm_eps"])


class _Decoder:
    """Draws the model, layer by layer."""

    def __init__(self, opened: Opened, graph: GraphFile, shape: Shape) -> None:
        self.opened, self.graph, self.shape = opened, graph, shape

    def build(self) -> None:
        g, names = self.graph, set(self.opened.names)
        ids = "input_ids"
        table = "model.embed_tokens.weight"
        packed = self.opened.layout(table) is not None
        # Rows of a packed embedding are looked up in its float32 numbers, which the graph makes when it is loaded.
        embedding = grid_floats(g, table, self.opened.encoded(table)) if packed else self._stored(table, cast=False)
        x = g.op("Gather", embedding, ids)
        x = x if packed else self._as_float(x, table)
        batch_and_length = g.op("Shape", ids)
        turn = self._rotation(g.op("Gather", batch_and_length, g.constant(1)))
        for layer in range(self.shape.layers):
            base = f"model.layers.{layer}."
            x = g.op(
                "Add", x, self._attention(self._norm(x, base + "input_layernorm.weight"), base + "self_attn.", turn)
            )
            x = g.op("Add", x, self._gated(self._norm(x, base + "post_attention_layernorm.weight"), base + "mlp."))
        x = self._norm(x, "model.norm.weight")
        if "lm_head.weight" in names:
            logits = self._linear(x, "lm_head")
        else:
            head = embedding if packed else self._as_float(embedding, table)
            logits = g.op("MatMul", x, g.op("Transpose", head, perm=[1, 0]))
        dims = ["batch", "length"]
        given = [helper.make_tensor_value_info(ids, TensorProto.INT64, dims)]
        vocabulary = self.opened.shape(table)[0]
        info = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [*dims, vocabulary])
        g.finish(given, {"logits": (logits, info)})

    def _stored(self, name: str, *, cast: bool = True) -> str:
        """A plain tensor, in the type it has on disk."""
        entry = self.opened.entries[name]
        raw = shards.read(entry)
        if entry.dtype == "F64":
            return self.graph.weight(name, shards.as_float32(raw, entry))
        kind = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}[entry.dtype]
        stored = self.graph.weight(name, raw.view(kind).reshape(entry.shape), entry.dtype)
        return self._as_float(stored, name) if cast else stored

    def _as_float(self, value: str, name: str) -> str:
        if self.opened.entries[name].dtype in ("F32", "F64"):
            return value
        return str(self.graph.op("Cast", value, to=TensorProto.FLOAT))

    def _linear(self, x: str, layer: str) -> str:
        g, name = self.graph, f"{layer}.weight"
        if self.opened.layout(name):
            y = packed_product(g, x, layer, self.opened.encoded(name))
        else:
            y = g.op("MatMul", x, g.op("Transpose", self._stored(name), perm=[1, 0]))
        bias = f"{layer}.bias"
        return g.op("Add", y, self._stored(bias)) if bias in self.opened.entries else y

    def _norm(self, x: str, name: str) -> str:
        g = self.graph
        square = g.op("ReduceMean", g.op("Mul", x, x), g.constant([-1]), keepdims=1)
        size = g.op("Sqrt", g.op("Add", square, g.constant(self.shape.epsilon, np.float32)))
        return str(g.op("Mul", g.op("Div", x, size), self._stored(name)))

    def _rotation(self, length: str) -> tuple[str, str, str]:
        """(cosines, sines, causal mask) for positions 0 .. length - 1."""
        g = self.graph
        frequencies, scale = _frequencies(self.opened.config)
        places = g.op("Range", g.constant(0), length, g.constant(1))
        column = g.op("Unsqueeze", places, g.constant([1]))
        angles = g.op("Mul", g.op("Cast", column, to=TensorProto.FLOAT), g.constant(frequencies[None], np.float32))
        angles = g.op("Concat", angles, angles, axis=1)
        factor = g.constant(scale, np.float32)
        later = g.op("Greater", g.op("Unsqueeze", places, g.constant([0])), column)
        mask = g.op("Where", later, g.constant(np.finfo(np.float32).min, np.float32), g.constant(0, np.float32))
        return g.op("Mul", g.op("Cos", angles), factor), g.op("Mul", g.op("Sin", angles), factor), mask

    def _heads(self, x: str, count: int) -> str:
        """(batch, length, count * size) to (batch, length, count, size)."""
        return str(self.graph.op("Reshape", x, self.graph.constant([0, 0, count, self.shape.size])))

    def _turned(self, x: str, turn: tuple[str, str, str]) -> str:
        g = self.graph
        first, second = g.op("Split", x, outputs=2, axis=-1, num_outputs=2)
        crossed = g.op("Concat", g.op("Neg", second), first, axis=-1)
        return str(g.op("Add", g.op("Mul", x, turn[0]), g.op("Mul", crossed, turn[1])))

    def _attention(self, x: str, base: str, turn: tuple[str, str, str]) -> str:
        g, shape = self.graph, self.shape
        query = self._heads(self._linear(x, base + "q_proj"), shape.heads)
        key = self._heads(self._linear(x, base + "k_proj"), shape.groups)
        value = self._heads(self._linear(x, base + "v_proj"), shape.groups)
        if base + "q_norm.weight" in self.opened.entries:
            query, key = self._norm(query, base + "q_norm.weight"), self._norm(key, base + "k_norm.weight")
        query, key, value = (g.op("Transpose", part, perm=[0, 2, 1, 3]) for part in (query, key, value))
        query, key = self._turned(query, turn), self._turned(key, turn)
        key, value = self._repeated(key), self._repeated(value)
        scores = g.op("MatMul", query, g.op("Transpose", key, perm=[0, 1, 3, 2]))
        scores = g.op("Add", g.op("Mul", scores, g.constant(shape.size**-0.5, np.float32)), turn[2])
        mixed = g.op("MatMul", g.op("Softmax", scores, axis=-1), value)
        mixed = g.op(
            "Reshape", g.op("Transpose", mixed, perm=[0, 2, 1, 3]), g.constant([0, 0, shape.heads * shape.size])
        )
        return self._linear(mixed, base + "o_proj")

    def _repeated(self, x: str) -> str:
        """Keys or values (batch, groups, length, size), each group as often as queries share it."""
        g, times = self.graph, self.shape.heads // self.shape.groups
        if times == 1:
            return x
        many = g.op("Concat", *[g.op("Unsqueeze", x, g.constant([2]))] * times, axis=2)
        flat = g.op("Shape", x)
        part = g.op("Slice", flat, g.constant([2]), g.constant([4]))
        batch = g.op("Slice", flat, g.constant([0]), g.constant([1]))
        return str(g.op("Reshape", many, g.op("Concat", batch, g.constant([self.shape.heads]), part, axis=0)))

    def _gated(self, x: str, base: str) -> str:
        g = self.graph
        gate = self._linear(x, base + "gate_proj")
        open_ = g.op("Mul", gate, g.op("Sigmoid", gate))
        return self._linear(g.op("Mul", open_, self._linear(x, base + "up_proj")), base + "down_proj")


def _frequencies(config: dict[str, Any]) -> tuple[Any, float]:
    """Rotary frequencies and the factor of cosines and sines, as transformers makes them for this configuration."""
    import torch
    from transformers import AutoConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    made = AutoConfig.for_model(**{key: value for key, value in config.items() if key != "quantization_config"})
    rope = dict(made.rope_parameters)
    kind = rope.get("rope_type", "default")
    if kind == "default":
        size = Shape.of(config).size
        steps = torch.arange(0, size, 2, dtype=torch.int64).float() / size
        return (1.0 / rope["rope_theta"] ** steps).numpy(), 1.0
    if kind not in ("llama3", "linear", "yarn"):
        raise BadInput(f"--to onnx does not draw rotary embeddings of type '{kind}'; use --to dense")
    found, scale = ROPE_INIT_FUNCTIONS[kind](made, torch.device("cpu"))
    return found.numpy(), float(scale)


def _compare(opened: Opened, out: Path) -> float:
    """Largest difference of logits between onnxruntime's and the packed model's, relative to the largest logit."""
    import onnxruntime
    import torch

    from backcast.compress.reload import plain_route
    from backcast.compress.score import load

    model, tokenizer = load(opened.folder)
    # Words, not any ids: on tokens that a model never learnt, rounding alone moves its logits by as much as TOLERANCE.
    ids = torch.tensor(tokenizer(TEXT).input_ids[:32]).reshape(2, -1)
    with torch.no_grad(), plain_route(model):
        ours = model(ids).logits.numpy()
    del model
    session = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    (theirs,) = session.run(["logits"], {"input_ids": ids.numpy()})
    worst = float(np.abs(ours - theirs).max() / max(np.abs(ours).max(), 1e-9))
    if not worst <= TOLERANCE:
        raise WorkFailed(f"onnxruntime's logits differ by {worst:.3g} of the largest; report this")
    return worst
