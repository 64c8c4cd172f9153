"""Building an ONNX graph node by node, with the weights in one file beside it, written as they come."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
MICROSOFT = "com.microsoft"
DATA = "model.onnx.data"

_KINDS = {"F32": TensorProto.FLOAT, "F16": TensorProto.FLOAT16, "BF16": TensorProto.BFLOAT16}
_ALIGNED = 4096


class GraphFile:
    """Nodes and initialisers of one graph. Numbers are ``str`` names of values, as ONNX has them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._nodes: list[Any] = []
        self._initialisers: list[Any] = []
        self._data = (folder / DATA).open("wb")
        self._made = 0
        self._constants: dict[Any, str] = {}

    def op(self, kind: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        """Adds a node; the name of its output, or a list of names."""
        names = [self._name(kind) for _ in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, values: Any, dtype: Any = np.int64) -> str:
        """A small constant inside the graph, shared by all who ask for the same."""
        array = np.asarray(values, dtype=dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = self._name("constant")
            self._initialisers.append(numpy_helper.from_array(array, name))
            self._constants[key] = name
        return self._constants[key]

    def weight(self, name: str, values: NDArray[Any], dtype: str | None = None) -> str:
        """A tensor in the file beside the graph; ``dtype`` says what 16-bit words mean (F16, BF16)."""
        kind = _KINDS[dtype] if dtype else helper.np_dtype_to_tensor_dtype(values.dtype)
        self._data.write(b"\0" * (-self._data.tell() % _ALIGNED))
        proto = TensorProto(name=name, data_type=kind, dims=values.shape, data_location=TensorProto.EXTERNAL)
        size = values.nbytes
        for key, value in (("location", DATA), ("offset", self._data.tell()), ("length", size)):
            proto.external_data.add(key=key, value=str(value))
        self._data.write(np.ascontiguousarray(values).tobytes())
        self._initialisers.append(proto)
        return name

    def floats(self, name: str, values: NDArray[Any], dtype: str) -> str:
        """A tensor of floating numbers stored as ``dtype`` (F32, F16, BF16), as float32 to whoever uses it."""
        stored = self.weight(name, values, dtype)
        return stored if dtype == "F32" else self.op("Cast", stored, to=TensorProto.FLOAT)

    def finish(self, inputs: list[Any], outputs: dict[str, Any]) -> Path:
        """Writes ``model.onnx``; ``outputs`` maps the name shown to (value, type and shape)."""
        infos = []
        for shown, (value, info) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [value], [shown]))
            infos.append(info)
        graph = helper.make_graph(self._nodes, "decoder", inputs, infos, self._initialisers)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="backcast", ir_version=9)
        self._data.close()
        path = self._folder / "model.onnx"
        onnx.save_model(model, path)
        return path

    def _name(self, kind: str) -> str:
        self._made += 1
        return f"{kind}_{self._made}"
