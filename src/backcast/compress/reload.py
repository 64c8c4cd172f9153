"""A packed folder is loaded again before it counts as done: the whole model, or layer by layer if memory is short."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from typing import Any, Literal

from backcast.compress import shards
from backcast.compress.model import continues_text
from backcast.compress.opened import Opened, open_folder
from backcast.core.errors import BadInput, WorkFailed

SAMPLE = "The capital of France is"
"""What the sample generation goes on from."""

TOLERANCE = 1e-3
"""Most difference between the routes, relative to the largest logit (or output of a layer)."""

_NO_ROOM = (
    "'{}' is packed, but there was not enough memory to load it again; the same command with --check layers needs room "
    "for one layer only"
)

How = Literal["auto", "model", "layers"]


def check(folder: Path, how: How = "auto") -> dict[str, Any]:
    """Compares the fast kernels with plain decoding on what was written; the largest difference, and a sample.

    ``model`` loads the whole and compares logits; ``layers`` holds one layer at a time, compares its outputs, and has
    no sample; ``auto`` takes the second where the model does not fit into the memory that is free, and for models that
    are no causal language models. Raises WorkFailed when the two disagree, or when the model does not run packed.
    """
    opened = open_folder(folder)
    tokenizer = any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json"))
    speaks = tokenizer and continues_text(opened.config)
    if how == "model" and not speaks:
        lacks = "is no causal language model" if tokenizer else "has no tokenizer"
        raise BadInput(f"'{folder}' {lacks}, so no text can be read to the whole model; use --check layers")
    if how == "auto":
        free = room()
        how = "model" if speaks and (free is None or needed(opened) <= free) else "layers"
    try:
        return {**(_layers(opened) if how == "layers" else _model(folder)), "checked": how}
    except RuntimeError as error:
        if not _full(error):
            raise
        raise WorkFailed(_NO_ROOM.format(folder)) from error
    except MemoryError as error:
        raise WorkFailed(_NO_ROOM.format(folder)) from error


def needed(opened: Opened) -> int:
    """Bytes that the loaded model takes: floating tensors in float32, half as much again for loading, and room for
    one layer to be decoded (codes, scales and products, all of its full size)."""
    floats = [entry for entry in opened.entries.values() if entry.dtype in shards.FLOATS]
    whole = sum(entry.size for entry in opened.entries.values() if entry.dtype not in shards.FLOATS)
    widest = max((layout.weights for layout in opened.layouts.values()), default=0)
    return int(1.5 * (whole + sum(4 * prod(entry.shape) for entry in floats))) + 32 * widest


def room() -> int | None:
    """Bytes of memory that this process may still take: what the system has, within its limit on address space."""
    found = []
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    with suppress(ImportError, OSError):  # neither is there on every system
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            found.append(limit - pages * resource.getpagesize())
    return min(found, default=None)


def _model(folder: Path) -> dict[str, Any]:
    import torch

    from backcast.compress.score import load

    model, tokenizer = load(folder)
    ids = tokenizer(SAMPLE, return_tensors="pt").input_ids
    # Both fast routes: a few vectors at a time, and more.
    both = [ids[:, :4], ids.repeat(1, 4)]
    with torch.no_grad():
        # Plain first: what fails there is the model's own code, what fails only on the fast routes is ours.
        with _own_code(folder, model), plain_route(model):
            plain = [model(part).logits for part in both]
        fast = [model(part).logits for part in both]
        apart = max(float((a - b).abs().max()) for a, b in zip(fast, plain, strict=True))
        largest = max(float(logits.abs().max()) for logits in plain)
        if not apart <= TOLERANCE * max(largest, 1.0):
            raise WorkFailed(
                f"'{folder}' was written, but its kernels disagree by {apart:.3g} in the logits; report this"
            )
        made = model.generate(ids, max_new_tokens=20, do_sample=False, pad_token_id=tokenizer.eos_token_id)
    return {"reload_max_difference": apart, "sample": tokenizer.decode(made[0], skip_special_tokens=True)}


@contextmanager
def _own_code(folder: Path, model: Any) -> Iterator[None]:
    """Around a model's own code, which may take weights by itself and then raise whatever it likes: WorkFailed."""
    try:
        yield
    except Exception as error:
        if _full(error):
            raise
        reason = (str(error).splitlines() or [""])[0][:160]
        raise WorkFailed(
            f"'{folder}' is packed, but {type(model).__name__} does not run with packed layers "
            f"({type(error).__name__}: {reason}): its code takes weights by itself; leave those layers out with "
            "--exclude, into another --out"
        ) from error


def _full(error: Exception) -> bool:
    """Whether memory ran out: torch says so in words alone."""
    return isinstance(error, MemoryError) or "allocate memory" in str(error)


def _layers(opened: Opened) -> dict[str, Any]:
    import torch

    from backcast.compress.packed import FEW, PackedLinear

    worst = 0.0
    draw = torch.Generator().manual_seed(0)
    for name, layout in opened.layouts.items():
        layer = PackedLinear(layout, bias=False, device="meta")
        tensors = opened.encoded(f"{name}.weight").tensors
        layer.weight = torch.nn.Parameter(torch.from_numpy(tensors.pop("weight")), requires_grad=False)
        for key, values in tensors.items():
            layer.register_buffer(key, torch.from_numpy(values))
        for count in (1, FEW + 1):
            x = torch.randn(count, layout.columns, generator=draw)
            with torch.no_grad():
                fast = layer(x)
                layer.route = "plain"
                plain = layer(x)
                layer.route = "fast"
            apart = float((fast - plain).abs().max())
            if not apart <= TOLERANCE * max(float(plain.abs().max()), 1e-9):
                raise WorkFailed(
                    f"'{opened.folder}' was written, but the kernels of '{name}' disagree by {apart:.3g}; report this"
                )
            worst = max(worst, apart)
    return {"reload_max_difference": worst, "sample": None}


@contextmanager
def plain_route(model: Any) -> Iterator[None]:
    """Inside, every packed layer decodes with torch and multiplies densely."""
    from backcast.compress.packed import PackedLinear

    layers = [module for module in model.modules() if isinstance(module, PackedLinear)]
    for layer in layers:
        layer.route = "plain"
    try:
        yield
    finally:
        for layer in layers:
            layer.route = "fast"
