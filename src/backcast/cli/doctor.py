"""``backcast doctor``: what a bug report needs, and what would stop a command on this machine."""

import importlib.util
import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from backcast import __version__
from backcast.cli import tables
from backcast.core.errors import BadInput, WorkFailed
from backcast.core.files import cache_folder
from backcast.core.run import environment

DISK_GB, MEMORY_GB = 2.0, 3.0
"""The demo wants so much free: the bundled model in float32 and a run folder; the model with its optimiser."""


@dataclass(frozen=True)
class Options:
    """Python, torch, extras, versions, device, disk, memory, cache, kernels; exit code 1 if something is in the way."""

    servers: tuple[str, ...] = ()
    """Addresses to try: http(s)://host:port/v1#name."""

    @staticmethod
    def exit_code(result: dict[str, Any]) -> int:
        """1 if something would stop a command."""
        return 1 if result["problems"] else 0


def main(options: Options) -> dict[str, Any]:
    """The state of this installation; ``problems`` lists what would stop a command. Nothing in it is secret."""
    found = {
        "backcast": __version__,
        **environment(),
        "torch": _torch(),
        "device": _device(),
        "extras": _extras(),
        "versions": _versions(),
        "free_disk_gb": _free_disk(cache_folder()),
        "memory_gb": _memory(),
        "cache": _cache(),
        "kernels": _kernels(),
        "browser": shutil.which("chromium") or shutil.which("google-chrome"),
        "hub": "offline" if _true(os.environ.get("HF_HUB_OFFLINE")) else "asked when a hub id is given",
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "servers": {address: _server(address) for address in options.servers},
    }
    return {**found, "problems": _problems(found)}


def show(result: dict[str, Any]) -> None:
    """Prints it as lines to paste, the problems last."""
    out = tables.console()
    for key, value in result.items():
        if key != "problems":
            out.print(f"{key}: {_words(value)}", soft_wrap=True, markup=False)
    for problem in result["problems"]:
        out.print(f"problem: {problem}", style="bold red", soft_wrap=True, markup=False)
    if not result["problems"]:
        out.print("nothing is in the way", style="bold green")


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(inner)}" for name, inner in value.items()) or "none"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return {True: "yes", False: "no", None: "none"}.get(value, str(value)) if not _numeric(value) else str(value)


def _numeric(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _true(value: str | None) -> bool:
    return (value or "").strip().upper() in ("1", "TRUE", "YES", "ON")


def _torch() -> dict[str, Any] | None:
    """Version and build of torch; None without it, ``error`` where it is there and does not load."""
    if importlib.util.find_spec("torch") is None:
        return None
    try:
        import torch
    except (ImportError, OSError) as error:
        return {"error": str(error).splitlines()[0]}
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
    return {"version": torch.__version__, "build": build, "threads": torch.get_num_threads()}


def _device() -> str:
    if "torch" not in sys.modules:
        return "no torch"
    import torch

    if torch.cuda.is_available():
        return f"cuda: {torch.cuda.get_device_name(0)}, {torch.cuda.mem_get_info()[0] / 1e9:.1f} GB free"
    if torch.backends.mps.is_available():
        return "mps"
    return f"cpu ({platform.machine()})"


def _extras() -> dict[str, Any]:
    """Every extra of the package: True if all that it asks for is installed, else the names of what is missing."""
    wanted: dict[str, list[str]] = {}
    try:
        lines = metadata.requires("backcast") or []
    except metadata.PackageNotFoundError:
        return {}
    for line in lines:
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if extra and extra[1] != "dev":
            wanted.setdefault(extra[1], []).append(_name(line))
    missing = {name: sorted({one for one in some if not _installed(one)}) for name, some in wanted.items()}
    return {name: missing[name] or True for name in sorted(missing)}


def _name(requirement: str) -> str:
    return re.split(r"[\s\[<>=!~;(]", requirement.strip(), maxsplit=1)[0]


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _versions() -> dict[str, Any]:
    """Packages whose version is not the tested one; ``tested`` counts those that are. Empty without the list."""
    text = _constraints()
    if text is None:
        return {}
    pinned = dict(line.split("==") for line in text.splitlines() if "==" in line and not line.startswith("#"))
    here = {name: version for name in pinned if (version := _installed(name))}
    # The build behind the plus sign (2.13.0+cpu) is no other version.
    other = {name: found for name, found in here.items() if found.partition("+")[0] != pinned[name]}
    return {
        "as tested": len(here) - len(other),
        **{name: f"{found} (tested: {pinned[name]})" for name, found in other.items()},
    }


def _constraints() -> str | None:
    """constraints.txt as it was packed into the wheel, else that of the checkout."""
    packed = Path(str(resources.files("backcast.data"))) / "constraints.txt"
    for path in (packed, Path(__file__).parents[3] / "constraints.txt"):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    return None


def _free_disk(folder: Path) -> float:
    """GB free where the cache is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return round(shutil.disk_usage(folder).free / 1e9, 1)


def _memory() -> dict[str, float] | None:
    """GB of memory, in all and available; None where the system does not say it in /proc."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    sizes = {name: round(int(rest.split()[0]) / 1e6, 1) for name, rest in (line.split(":", 1) for line in lines)}
    return {"total": sizes["MemTotal"], "available": sizes["MemAvailable"]}


def _cache() -> dict[str, Any]:
    folder = cache_folder()
    models = folder / "models"
    entries = models.iterdir() if models.is_dir() else ()
    found: dict[str, Any] = {
        "folder": str(folder),
        "writable": _writable(folder),
        "models": sorted(entry.name for entry in entries if not entry.name.startswith(".")),
        "calls": None,
    }
    from backcast.lm.cache import CallCache

    calls = CallCache()
    if calls.path.exists():
        try:
            stats = calls.stats()
            found["calls"] = {"path": str(stats.path), "rows": stats.rows, "bytes": stats.bytes}
        except (BadInput, WorkFailed) as error:
            found["calls"] = {"path": str(calls.path), "error": str(error)}
        finally:
            calls.close()
    return found


def _writable(folder: Path) -> bool:
    """Tried, not asked: access bits say nothing of a file system mounted read-only or of a full one."""
    there = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".doctor-{os.getpid()}"
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
        if not there:
            folder.rmdir()
    except OSError:
        return False
    return True


def _kernels() -> dict[str, Any] | None:
    """Compiled numba kernels that are kept on disk, so that first use need not compile; None without numba."""
    if importlib.util.find_spec("numba") is None:
        return None
    named = os.environ.get("NUMBA_CACHE_DIR")
    place = Path(named) if named else Path(__file__).parents[1]
    kept = [path for path in place.rglob("*.nbi") if named or path.parent.name == "__pycache__"]
    return {"compiled": len(kept), "folder": str(place)}


def _server(address: str) -> str:
    """ "reachable" with the models that it serves, or the line that says why not."""
    from backcast.lm.endpoint.address import Address
    from backcast.lm.endpoint.address import Options as Patience
    from backcast.lm.endpoint.client import Client

    client = None
    try:
        client = Client(Address.parse(address, Patience(timeout=5.0, retries=0)))
        models = client.get("models").get("data", [])
    except (BadInput, WorkFailed) as error:
        return f"not reachable: {error}"
    finally:
        if client is not None:
            client.close()
    return "reachable, serves " + ", ".join(str(model.get("id")) for model in models if isinstance(model, dict))


def _problems(found: dict[str, Any]) -> list[str]:
    """One line for each thing that would stop a command, and what to do about it."""
    cache, torch, memory = found["cache"], found["torch"], found["memory_gb"]
    lines = []
    if not cache["writable"]:
        lines.append(f"the cache '{cache['folder']}' cannot be written; set BACKCAST_CACHE to another folder")
    if cache["calls"] and "error" in cache["calls"]:
        lines.append(cache["calls"]["error"])
    if found["free_disk_gb"] < DISK_GB:
        lines.append(
            f"only {found['free_disk_gb']} GB of disk are free at '{cache['folder']}'; the demo wants {DISK_GB:g}"
        )
    if memory and memory["available"] < MEMORY_GB:
        lines.append(f"only {memory['available']} GB of memory are available; the demo wants {MEMORY_GB:g}")
    if torch is None:
        lines.append("no torch: language models need it; pip install -c constraints.txt torch, then 'backcast[all]'")
    elif "error" in torch:
        lines.append(f"torch does not load: {torch['error']}")
    lines += [f"server {address} is {said}" for address, said in found["servers"].items() if said.startswith("not")]
    return lines
