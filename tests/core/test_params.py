import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import tyro
from hypothesis import given
from hypothesis import strategies as st

from backcast.core import params
from backcast.core.errors import BadInput


@dataclass(frozen=True)
class Search:
    """How to search."""

    expansions: int = 2
    """Rewrites per segment."""
    nll_stop: float | None = 0.25
    """Stop below this."""


@dataclass(frozen=True)
class Recipe:
    """A recipe for tests."""

    model: str = "tiny"
    """The model."""
    rate: float = 0.5
    """The rate."""
    speed: Literal["fast", "slow"] = "fast"
    """The speed."""
    lora: bool = True
    """LoRA or not."""
    data: Path | None = None
    """A file."""
    names: tuple[str, ...] = ()
    """Names."""
    search: Search = field(default_factory=lambda: Search(expansions=4, nll_stop=None))
    """The search."""

    def __post_init__(self):
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate must lie in [0, 1], found {self.rate}")


@dataclass(frozen=True)
class WithPositional:
    """One positional."""

    path: tyro.conf.Positional[Path]
    """The file."""
    k: int = 2
    """K."""


@dataclass(frozen=True)
class Shares:
    """A share, and one that is left open."""

    share: float | None
    other: float | None = None


TEXT = st.text(max_size=20)
RECIPES = st.builds(
    Recipe,
    model=TEXT,
    rate=st.floats(0, 1),
    speed=st.sampled_from(["fast", "slow"]),
    lora=st.booleans(),
    data=st.none() | st.just(Path("a/b c.jsonl")),
    names=st.lists(TEXT, max_size=3).map(tuple),
    search=st.builds(Search, st.integers(), st.none() | st.floats(allow_nan=False, allow_infinity=False)),
)


@given(RECIPES)
def test_settings_survive_their_toml(tmp_path_factory, recipe):
    """The resolved recipe in a run folder is the whole truth: read back, it is equal, whatever the texts hold."""
    path = tmp_path_factory.mktemp("toml") / "recipe.toml"
    path.write_text(params.to_toml(recipe), encoding="utf-8")
    assert params.from_toml(Recipe, path) == recipe


def test_flags_override_the_file_and_the_file_the_defaults(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text('model = "big"\nrate = 1\n[search]\nexpansions = 8\n')
    loaded = params.from_toml(Recipe, path)
    settings = params.parse(Recipe, ["--rate", "0.25", "--search.nll-stop", "0.1"], prog="t", default=loaded)
    assert settings == Recipe(model="big", rate=0.25, search=Search(8, 0.1))


def test_a_table_with_some_keys_keeps_the_recipes_own_values_for_the_rest(tmp_path):
    """``[search] expansions = 8`` changes one number of the recipe's preset, and does not fall back to the class's."""
    path = tmp_path / "r.toml"
    path.write_text("[search]\nexpansions = 8\n")
    assert params.from_toml(Recipe, path).search == Search(expansions=8, nll_stop=None)


def test_none_can_be_written_although_toml_has_no_null(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text('[search]\nnll_stop = "none"\n')
    assert params.from_toml(Recipe, path).search.nll_stop is None
    assert 'nll_stop = "none"' in params.to_toml(Recipe())


def test_none_on_the_command_line_is_the_word_of_the_file():
    assert params.parse(Search, ["--nll-stop", "none"], prog="t").nll_stop is None


def test_positionals_come_first():
    assert params.parse(WithPositional, ["x.jsonl", "--k", "3"], prog="t") == WithPositional(Path("x.jsonl"), 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modle = 'x'", r"unknown key 'modle'; did you mean 'model'\?"),
        ("[search]\nexpansion = 1", r"search: unknown key 'expansion'; did you mean 'expansions'\?"),
        ("rate = 'x'", "rate: expected float, found 'x'"),
        ("rate = 2.0", r"rate must lie in \[0, 1\], found 2.0"),
        ("speed = 'medium'", "'medium' is not one of fast, slow"),
        ("lora = 1", "lora: expected bool, found '1'"),
        ("names = 'x'", "names: expected"),
        ("rate = ", "not TOML"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_the_key(tmp_path, text, said):
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(BadInput, match=said) as error:
        params.from_toml(Recipe, path)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        params.from_toml(Recipe, tmp_path / "r.toml")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--modle", "x"], r"unknown argument '--modle'; did you mean '--model'\?"),
        (["--search.expansion", "3"], r"did you mean '--search.expansions'\?"),
        (["--rate", "fast"], "Error parsing --rate"),
        (["--rate", "7"], "rate must lie in"),
        (["stray"], "unknown argument 'stray'"),
        (["--speed", "medium"], "medium"),
    ],
)
def test_a_wrong_command_line_is_one_line(argv, said):
    with pytest.raises(BadInput, match=said) as error:
        params.parse(Recipe, argv, prog="backcast t")
    assert "\n" not in str(error.value)
    assert "backcast t --help" in str(error.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, "more than 0 and at most 1"), (1.5, "found 1.5"), (math.nan, "found nan"), (math.inf, "found inf")],
)
def test_a_value_outside_its_range_is_refused_by_name(value, said):
    """(0, 1] takes 1 and not 0, NaN or infinity; None passes: a setting that may be absent."""
    with pytest.raises(ValueError, match="share must be") as error:
        params.bounded(Shares(value), "other share", 0, 1, above=True)
    assert said in str(error.value)
    params.bounded(Shares(1.0), "other share", 0, 1, above=True)
    params.bounded(Shares(0.0), "share", 0)


def test_what_a_dataclass_refuses_is_said_without_its_name():
    """tyro names the class that could not be made; the user never heard of it."""
    with pytest.raises(BadInput) as error:
        params.parse(Recipe, ["--rate", "-1"], prog="p")
    assert str(error.value).startswith("rate must lie in [0, 1], found -1")


def test_a_missing_positional_is_one_line():
    with pytest.raises(BadInput, match=r"Missing from t: .*The file\."):
        params.parse(WithPositional, [], prog="t")


def test_help_exits_zero_and_shows_the_docstrings(capsys):
    with pytest.raises(SystemExit) as stop:
        params.parse(Recipe, ["--help"], prog="t")
    assert not stop.value.code
    assert "Rewrites per segment." in capsys.readouterr().out


def test_flat_settings_keep_every_value():
    """Nested tables become dotted keys."""
    assert params.flat({"a": 1, "b": {"c": 2, "d": {"e": 3}}}) == {"a": 1, "b.c": 2, "b.d.e": 3}


def test_none_switches_off_only_what_may_be_off():
    """The word ``none`` is None after a flag that may be absent, and a value like any other after one that may not."""

    @dataclass(frozen=True)
    class Small:
        limit: int | None = 3
        observe: str = "last-k"

    found = params.parse(Small, ["--limit", "none", "--observe", "none"], prog="x")
    assert found == Small(None, "none")
