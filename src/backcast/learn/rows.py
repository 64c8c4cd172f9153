"""A trainer's batch as single rows and back: what lets a sample leave its batch, wait, and join a later one."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from backcast.core.errors import WorkFailed

Row = dict[str, Any]
"""One attempt: unpadded tensors on the CPU by the trainer's names; ``[tensor]`` where a batch holds a list of them."""

_LEFT = ("prompt_ids", "prompt_mask")
_RIGHT = (
    "completion_ids",
    "completion_mask",
    "old_per_token_logps",
    "ref_per_token_logps",
    "sampling_per_token_logps",
    "importance_sampling_ratio",
    "tool_mask",
    "advantages",
)
_WHOLE = ("token_type_ids", "mm_token_type_ids")


def unpack(data: Mapping[str, Any], index: Sequence[int] | None = None) -> list[Row]:
    """The rows ``index`` (default: all) of a batch, each without its padding, copied so that the batch can be freed.

    The rows' token fields are slices of one copy without padding; it is freed with the last of them. Images are copied
    row by row. Tensors without a row dimension belong to the whole batch and are left out.
    """
    count, width = data["prompt_ids"].shape
    chosen = list(range(count)) if index is None else list(index)
    if not chosen:
        return []
    at = torch.tensor(chosen, device=data["prompt_ids"].device)
    prompts, lengths = data["prompt_mask"].sum(1)[at].cpu(), data["completion_mask"].sum(1)[at].cpu()
    left = torch.arange(width) >= width - prompts[:, None]
    right = torch.arange(data["completion_ids"].shape[1]) < lengths[:, None]
    spans = {
        **dict.fromkeys(_LEFT, (left, prompts.tolist())),
        **dict.fromkeys(_RIGHT, (right, lengths.tolist())),
        **dict.fromkeys(_WHOLE, (torch.cat([left, right], dim=1), (prompts + lengths).tolist())),
    }
    fields: dict[str, Sequence[Any]] = {}
    for key, value in data.items():
        if isinstance(value, list):
            fields[key] = [_own(value[i]) for i in chosen]
        elif isinstance(value, torch.Tensor) and value.ndim > 0:
            fields[key] = _split(value.detach()[at].cpu(), spans.get(key))
    return [dict(zip(fields, row, strict=True)) for row in zip(*fields.values(), strict=True)]


def _own(value: Any) -> Any:
    """An entry of a list, which holds one value a row; a tensor is copied and marked by a list of its own."""
    return [value.detach().to("cpu", copy=True)] if isinstance(value, torch.Tensor) else value


def _split(value: torch.Tensor, span: tuple[torch.Tensor, list[int]] | None) -> Sequence[torch.Tensor]:
    if span is not None and value.shape == span[0].shape:  # one value a token
        return torch.split(value[span[0]], span[1])
    return [row.clone() for row in value] if value.ndim > 2 else value.unbind(0)


def pack(rows: Sequence[Row], pad_id: int, device: Any) -> dict[str, Any]:
    """The batch of ``rows``, padded as the trainer does (prompts left, completions right), on ``device``.

    Raises WorkFailed when a field of the rows has shapes that cannot lie in one batch.
    """
    prompt = max(len(row["prompt_ids"]) for row in rows)
    length = max(len(row["completion_ids"]) for row in rows)
    keys = list(dict.fromkeys(key for row in rows for key in row))
    batch: dict[str, Any] = {}
    for key in keys:
        values = _complete(key, rows)
        if key in _LEFT:
            padded = pad_sequence(values, True, pad_id if key == "prompt_ids" else 0, "left")
        elif key in _RIGHT and values[0].ndim == 1 and (length == 1 or any(len(value) != 1 for value in values)):
            padded = pad_sequence(values, True, {"completion_ids": pad_id, "tool_mask": 1}.get(key, 0))
        elif key in _WHOLE:
            lefts = [prompt - len(row["prompt_ids"]) for row in rows]
            padded = torch.stack([_pad(v, n, prompt + length - n - len(v)) for v, n in zip(values, lefts, strict=True)])
        else:
            batch[key] = _join(key, values, device)
            continue
        batch[key] = padded.to(device)
    return batch


def _complete(key: str, rows: Sequence[Row]) -> list[Any]:
    """The field of every row; a row from a batch without images has none of them, and one without tools no mask."""
    known = next(row[key] for row in rows if key in row)
    if key in _WHOLE:
        return [row.get(key, known.new_zeros(len(row["prompt_ids"]) + len(row["completion_ids"]))) for row in rows]
    if key == "tool_mask":
        return [row.get(key, known.new_ones(len(row["completion_ids"]))) for row in rows]
    if isinstance(known, list):
        return [row.get(key, [known[0][:0]]) for row in rows]
    if isinstance(known, torch.Tensor):
        return [row[key] for row in rows]
    return [row.get(key, 0) for row in rows]


def _pad(value: torch.Tensor, left: int, right: int) -> torch.Tensor:
    return torch.nn.functional.pad(value, (left, right))


def _join(key: str, values: list[Any], device: Any) -> Any:
    if isinstance(values[0], list):
        return [value.to(device) for (value,) in values]
    if not isinstance(values[0], torch.Tensor):
        return values
    if len({value.shape for value in values}) > 1:
        shapes = sorted({str(tuple(value.shape)) for value in values})
        raise WorkFailed(f"replay cannot put '{key}' of shapes {', '.join(shapes)} into one batch; use one image size")
    return torch.stack(values).to(device)


def size(row: Row) -> int:
    """Bytes of a row's tensors."""
    fields = (value[0] if isinstance(value, list) else value for value in row.values())
    return sum(field.nbytes for field in fields if isinstance(field, torch.Tensor))
