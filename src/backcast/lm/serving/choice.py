"""Which existing server suits a model, and the command that starts it."""

import importlib.util
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from backcast.core.errors import BadInput, nearest
from backcast.lm.models import ALIASES, is_endpoint, resolve

ENGINES = ("transformers", "vllm", "llama.cpp")
"""transformers: any folder, packed ones too; vllm: plain folders on a GPU; llama.cpp: GGUF files."""
_PACKAGES = {
    "transformers": (("transformers", "torch", "fastapi", "uvicorn", "openai"), "pip install 'backcast[serve]'"),
    "vllm": (("vllm",), "pip install vllm"),
    "llama.cpp": (("xllamacpp",), "pip install xllamacpp"),
}


@dataclass(frozen=True)
class Choice:
    """An engine, and the files that it serves: a folder, or for llama.cpp one GGUF file."""

    engine: str
    path: Path

    def command(self, name: str, host: str, port: int, preload: tuple[str, ...]) -> list[str]:
        """The command of the engine's process. ``preload``: modules that it imports before it loads the model."""
        if self.engine == "vllm":
            return [
                *(sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(self.path)),
                *("--host", host, "--port", str(port), "--served-model-name", name),
            ]
        words = [str(self.path), name, host, str(port)]
        if self.engine == "llama.cpp":
            return [sys.executable, "-m", "backcast.lm.serving.gguf", *words]
        return [sys.executable, "-m", "backcast.lm.serving.folder", *words, *preload]


def choose(model: str, engine: str = "auto") -> Choice:
    """The engine for ``model``, by its files, the packages here and the GPU; ``engine`` forces one.

    Raises BadInput for a server's address, an engine that cannot read these files, or one that is not installed.
    """
    if engine not in ("auto", *ENGINES):
        raise BadInput(f"unknown engine '{engine}'{nearest(engine, ('auto', *ENGINES))}")
    if is_endpoint(model):
        raise BadInput(f"'{model}' is a server already")
    gguf = _gguf(model)
    if gguf is not None and engine in ("auto", "llama.cpp"):
        return _installed(Choice("llama.cpp", gguf))
    if engine == "llama.cpp":
        raise BadInput(f"llama.cpp reads .gguf files, not '{model}'; make one: backcast export {model} --to gguf ...")
    path = resolve(model).resolve()
    packed = "quantization_config" in json.loads((path / "config.json").read_text(encoding="utf-8"))
    if engine == "vllm" and packed:
        raise BadInput(f"vllm cannot read the packed '{model}'; --engine transformers can, or export it --to dense")
    chosen = engine if engine != "auto" else "vllm" if not packed and _gpu_server() else "transformers"
    return _installed(Choice(chosen, path))


def _gguf(model: str) -> Path | None:
    if model in ALIASES:
        return None
    path = Path(model).expanduser()
    if model.endswith(".gguf"):
        if not path.is_file():
            raise BadInput(f"no file '{model}'")
        return path.resolve()
    files = sorted(path.glob("*.gguf")) if path.is_dir() and not (path / "config.json").exists() else []
    if len(files) > 1:
        raise BadInput(f"'{model}' holds {len(files)} GGUF files; name one, e.g. '{files[0]}'")
    return files[0].resolve() if files else None


def _gpu_server() -> bool:
    if importlib.util.find_spec("vllm") is None or shutil.which("nvidia-smi") is None:
        return False
    import torch

    return torch.cuda.is_available()


def _installed(choice: Choice) -> Choice:
    packages, remedy = _PACKAGES[choice.engine]
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise BadInput(f"serving with {choice.engine} needs the package '{missing[0]}': {remedy}")
    return choice
