"""Pickles of plain data: containers, text, numbers and numpy arrays; anything else is refused by name, unrun."""

import pickle
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput

BUILTINS = ("set", "frozenset", "bytearray", "bytes", "complex")
NUMPY = {
    "ndarray": ("numpy",),
    "dtype": ("numpy",),
    "_reconstruct": ("numpy.core.multiarray", "numpy._core.multiarray"),
    "scalar": ("numpy.core.multiarray", "numpy._core.multiarray"),
    "_frombuffer": ("numpy.core.numeric", "numpy._core.numeric"),
}


class PlainUnpickler(pickle.Unpickler):
    """Refuses every global outside the lists above, before it can be called."""

    def find_class(self, module: str, name: str) -> Any:
        """The class, when it is one of plain data."""
        if module in ("builtins", "__builtin__") and name in BUILTINS:
            return super().find_class("builtins", name)
        if module in NUMPY.get(name, ()):
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        if (module, name) == ("_codecs", "encode"):  # how protocol 2 writes bytes
            return super().find_class(module, name)
        raise BadInput(
            f"the pickle names '{module}.{name}', which is not plain data; nothing of it was run. "
            "Load it where you trust it and save containers, text, numbers and arrays only"
        )


def load_plain(path: Path) -> Any:
    """The object of a pickle of plain data; raises BadInput for anything else, naming what was refused."""
    try:
        with path.open("rb") as file:
            return PlainUnpickler(file, encoding="latin1").load()
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
    except FileNotFoundError:
        raise BadInput(f"no such file: '{path}'; the folder of Action Genome holds it") from None
    except Exception as error:  # a damaged pickle may raise nearly anything
        raise BadInput(f"{path}: not a pickle of plain data ({type(error).__name__}: {error})") from None
