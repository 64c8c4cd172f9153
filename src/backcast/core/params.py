"""Settings: a frozen dataclass, filled from its defaults, then a TOML file, then flags. Nothing else configures us."""

import contextlib
import dataclasses
import io
import math
import re
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from backcast.core.errors import BadInput, nearest

T = TypeVar("T")

NONE = "none"
"""How a setting that may be absent is switched off in TOML, which has no null: ``nll_stop = "none"``."""


def from_toml(cls: type[T], path: Path | str) -> T:
    """The settings of a TOML file; keys that are absent keep their defaults.

    Raises BadInput for a missing file, broken TOML, an unknown key (naming the nearest) or a value of the wrong type.
    """
    return from_dict(cls, read_toml(path), str(path))


def read_toml(path: Path | str) -> dict[str, Any]:
    """The table of a TOML file; raises BadInput for a missing or broken one."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"no such file: '{path}'; give the path of a TOML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read '{path}': {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path}: not TOML: {error}") from None


def from_dict(cls: type[T], mapping: Mapping[str, Any], where: str, base: T | None = None) -> T:
    """The settings of a (nested) mapping; ``where`` names its source in error messages.

    Keys that are absent keep their value in ``base`` (default: the defaults of ``cls``), at every depth.
    """
    hints = typing.get_type_hints(cls)
    start = _defaults(cls) if base is None else {name: getattr(base, name) for name in hints}
    values = dict(start)
    for key, value in mapping.items():
        name = key.replace("-", "_")
        if name not in hints:
            raise BadInput(f"{where}: unknown key '{key}'{nearest(name, hints)}")
        values[name] = _convert(value, hints[name], f"{where}: {key}", start.get(name))
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{where}: {error}") from None


def _defaults(cls: Any) -> dict[str, Any]:
    found = {}
    for field in dataclasses.fields(cls):
        if field.default is not dataclasses.MISSING:
            found[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = field.default_factory()
    return found


def _convert(value: Any, hint: Any, where: str, base: Any = None) -> Any:
    origin, choices = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _convert(value, choices[0], where, base)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(value, choices, where)
    if origin is typing.Literal:
        if value not in choices:
            raise BadInput(f"{where}: '{value}' is not one of {', '.join(map(str, choices))}")
        return value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, Mapping):
        return from_dict(hint, value, where, base)
    if origin is tuple:
        if not isinstance(value, list):
            raise BadInput(f"{where}: expected a list, found '{value}'")
        kinds = choices[:1] * len(value) if choices[-1] is Ellipsis else choices
        if len(kinds) != len(value):
            raise BadInput(f"{where}: expected {len(kinds)} values, found {len(value)}")
        return tuple(_convert(item, kind, where) for item, kind in zip(value, kinds, strict=True))
    return _convert_plain(value, hint, where)


def _convert_union(value: Any, choices: tuple[Any, ...], where: str) -> Any:
    if value == NONE and type(None) in choices:
        return None
    for choice in choices:
        if choice is not type(None):
            with contextlib.suppress(BadInput):
                return _convert(value, choice, where)
    kinds = " or ".join(getattr(choice, "__name__", str(choice)) for choice in choices if choice is not type(None))
    raise BadInput(f"{where}: expected {kinds}, found '{value}'")


def _convert_plain(value: Any, hint: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    wrong_bool = isinstance(value, bool) and hint is not bool
    if isinstance(hint, type) and (not isinstance(value, hint) or wrong_bool):
        raise BadInput(f"{where}: expected {hint.__name__}, found '{value}'")
    return value


def to_dict(settings: Any) -> dict[str, Any]:
    """The complete settings as plain values: paths as text, tuples as lists, None as the text "none"."""
    return {field.name: _plain(getattr(settings, field.name)) for field in dataclasses.fields(settings)}


def _plain(value: Any) -> Any:
    if value is None:
        return NONE
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level, keys joined by dots."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def to_toml(settings: Any, head: Mapping[str, Any] | None = None) -> str:
    """TOML text that ``from_toml`` reads back to equal settings; ``head`` adds plain keys at the top."""
    return dict_to_toml({**(head or {}), **to_dict(settings)})


def dict_to_toml(plain: Mapping[str, Any]) -> str:
    """TOML text of plain values, one level of tables deep."""
    lines = [f"{key} = {_toml(value)}" for key, value in plain.items() if not isinstance(value, dict)]
    for key, table in plain.items():
        if isinstance(table, dict):
            lines += ["", f"[{key}]", *(f"{name} = {_toml(value)}" for name, value in table.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    return '"' + "".join(_escape(char) for char in str(value)) + '"'


def _escape(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    return char if char.isprintable() else f"\\U{ord(char):08x}"


def parse(cls: type[T], argv: Sequence[str], *, prog: str, default: T | None = None) -> T:
    """The settings of a command line (tyro reads the dataclass); ``default`` gives the values of absent flags.

    ``--help`` prints and exits 0. Anything wrong raises BadInput with one line.
    """
    import tyro

    said = io.StringIO()
    extra: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(said):
            # tyro spells it None; on the command line the word is the TOML file's, after a flag that may be off.
            may = optional(cls)
            before = ["", *(word.replace("_", "-") for word in argv)]
            words = ["None" if word == NONE and flag in may else word for flag, word in zip(before, argv, strict=False)]
            settings, unknown = tyro.cli(cls, args=words, prog=prog, return_unknown_args=True, **extra)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise BadInput(f"{_one_line(said.getvalue())}; see {prog} --help") from None
    except (TypeError, ValueError) as error:
        raise BadInput(f"{error}; see {prog} --help") from None
    if unknown:
        raise BadInput(f"unknown argument '{unknown[0]}'{nearest(unknown[0], flags(cls))} (see {prog} --help)")
    return typing.cast(T, settings)


def bounded(settings: Any, names: str, low: float, high: float = math.inf, *, above: bool = False) -> None:
    """Raises ValueError for the first of ``names`` (apart by spaces) outside [low, high], with ``above`` (low, high].

    For ``__post_init__``: the error reaches the user as one line. None passes; NaN and infinity lie in no range.
    """
    for name in names.split():
        value = getattr(settings, name)
        if value is None or (low <= value <= high and math.isfinite(value) and not (above and value == low)):
            continue
        least = f"more than {low:g}" if above else f"at least {low:g}"
        raise ValueError(
            f"{name} must be {least}{f' and at most {high:g}' if math.isfinite(high) else ''}, found {value}"
        )


def flags(cls: type) -> list[str]:
    """The flags that a settings dataclass gives on the command line, nested ones with their dots."""
    return list(_hints(cls))


def optional(cls: type) -> set[str]:
    """The flags whose setting may be switched off with the word ``none``; elsewhere the word is a value like any
    other."""
    return {flag for flag, hint in _hints(cls).items() if type(None) in typing.get_args(hint)}


def _hints(cls: type) -> dict[str, Any]:
    """Flag -> type of its setting."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        hint = typing.get_type_hints(cls)[field.name]
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            found |= {f"--{field.name.replace('_', '-')}.{flag[2:]}": inner for flag, inner in _hints(hint).items()}
        else:
            found["--" + field.name.replace("_", "-")] = hint
    return found


def _one_line(box: str) -> str:
    # tyro draws a box: a title, the message, a rule, and then the help again.
    lines = [line.strip("│ ") for line in box.splitlines()[1:]]
    rule = next((i for i, line in enumerate(lines) if set(line) <= set("─╰╯")), len(lines))
    said = " ".join(" ".join(lines[:rule]).split())
    # What a dataclass refuses is said under its own name, which means nothing to the user; a flag's name does.
    return re.sub(r"^Error parsing (?!-)\S+: ", "", said) or "the command line could not be read"
