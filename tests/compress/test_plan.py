"""``backcast compress --plan``: within the budget to the byte, better than any uniform choice, honest about minima."""

import json

import numpy as np
import pytest

from backcast import cli
from backcast.compress import plan, plan_job
from backcast.compress.job import folder_bytes
from backcast.compress.plan import AS_IT_IS, CANDIDATES, Choices, Measured, parse_budget, sample
from backcast.compress.plan_job import Asked, compress_to
from backcast.compress.score import load
from backcast.compress.stream import Job, Planned, layouts
from backcast.core.errors import BadInput


def planned(tiny, out, budget, **more):
    nothing = Planned({}, {})
    return compress_to(Job(tiny, out, nothing, **more), Asked(budget), "tiny")


@pytest.mark.parametrize("budget", ["290kb", "330kb", "450kb"])
def test_the_folder_is_within_its_budget(tiny, tmp_path, budget):
    """Every file counted; and no more is left over than the bounds on texts allow, so that the accounting is no
    mere safety margin."""
    said = planned(tiny, tmp_path / "out", budget)
    size, limit = folder_bytes(tmp_path / "out"), parse_budget(budget).bytes
    assert said["bytes_after"] == size <= limit
    assert limit - size < 25_000
    assert sum(said["plan"]["layers"].values()) == 14 > said["plan"]["layers"][AS_IT_IS]
    assert said["reload_max_difference"] < 1e-3
    page = (tmp_path / "out.plan.html").read_text()
    assert "model.layers.1.mlp.down_proj" in page
    assert page.count("<circle") >= len(CANDIDATES) + 1


def test_layers_differ_and_load(tiny, tmp_path):
    """Bits per weight: the mix has the bits asked for at most, several kinds of layers, and loads like any other."""
    said = planned(tiny, tmp_path / "out", "4.9bits")
    assert 4.7 < said["plan"]["bits"] <= 4.9
    assert said["plan"]["bits"] == pytest.approx(said["true_bits"], rel=1e-9)
    found = layouts(json.loads((tmp_path / "out" / "config.json").read_text()))
    assert len({(layout.kind, layout.bits) for layout in found.values()}) > 1
    model, tokenizer = load(tmp_path / "out")
    assert model(tokenizer("the river", return_tensors="pt").input_ids).logits.isfinite().all()


def measured(tiny, tmp_path, **more):
    from backcast.compress.stream import find_targets

    job = Job(tiny, tmp_path, Planned({}, {}), **more)
    return plan.measure(find_targets(job)[0], tmp_path / "measured", 1)


def test_no_uniform_choice_is_better(tiny, tmp_path):
    """At the bytes of every uniform choice the plan has at most its error; the certificate is exact here."""
    choices = Choices(measured(tiny, tmp_path), None, {})
    for name in CANDIDATES:
        budget = sum(layer.bytes(name) for layer in choices.measured)
        found = choices.best(budget)
        assert found.solution.error <= choices.uniform(name)[1] * (1 + 1e-12)  # summed in another order
        assert found.solution.gap == 0


def test_factors_move_bits_to_the_layers_that_matter(tiny, tmp_path):
    """A layer whose error counts a thousandfold gets more bits than it has when all count the same."""
    layers = measured(tiny, tmp_path)
    first = layers[0].name
    budget = sum(layer.bytes("wgm 4") for layer in layers)
    plain = Choices(layers, None, {}).best(budget)
    weighed = Choices(layers, {m.name: 1000.0 if m.name == first else 1.0 for m in layers}, {}).best(budget)
    assert layers[0].error(weighed.picks[first]) < layers[0].error(plain.picks[first])


def test_what_was_measured_is_what_is_stored(tiny, tmp_path):
    """Bytes and errors in the plan are those of the folder."""
    said = planned(tiny, tmp_path / "out", "4.2bits", include=("*.layers.0.*",))
    record = json.loads((tmp_path / "out" / "compress.json").read_text())
    errors = [t["squared_error"] / t["square"] for t in record["tensors"]]
    assert sum(errors) == pytest.approx(said["plan"]["error"], rel=1e-6)
    assert len(errors) == 7


def test_a_text_weighs_layers(tiny, tmp_path):
    """With a text every layer has a factor of its own; a text that is too short is refused."""
    text = "The river rises in the hills and runs to the sea. " * 40
    nothing = Planned({}, {})
    said = compress_to(Job(tiny, tmp_path / "out", nothing), Asked("4bits", text), "tiny")
    assert said["plan"]["weighed_on"] == "a text"
    with pytest.raises(BadInput, match="tokens; 512 are needed"):
        compress_to(Job(tiny, tmp_path / "short", nothing), Asked("4bits", "too short"), "tiny")


def test_the_minimum_is_stated_and_can_be_given(tiny, tmp_path, capsys):
    """Below it: one line, exit code 2, the least size; that very size then works in the same folder."""
    out = tmp_path / "out"
    assert cli.main(["compress", str(tiny), "--plan", "5mb", "--out", str(out)]) == 2
    assert "fits 5mb as it is" in capsys.readouterr().err
    for budget in ("20kb", "1.5bits"):
        assert cli.main(["compress", str(tiny), "--plan", budget, "--out", str(out)]) == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert f"--plan {budget} is below the least that this model can be" in said
        least = said.split("can be: ")[1].split(",")[0].split(";")[0]
        assert cli.main(["compress", str(tiny), "--plan", least, "--out", str(tmp_path / least)]) == 0
    assert cli.main(["compress", str(tiny), "--plan", "400kb", "--out", str(out)]) == 0


@pytest.mark.parametrize("size", ["", "big", "4 pb", "0mb", "-3mb", "4.5bitts"])
def test_a_size_that_is_none(size):
    """Named, with how to write it."""
    with pytest.raises(BadInput, match=r"write it like 2\.0gb"):
        parse_budget(size)


def test_sizes():
    """Powers of ten; spaces and capitals do not matter."""
    assert parse_budget("1.5 GB").bytes == 1_500_000_000
    assert parse_budget("120mb").bytes == 120_000_000
    assert parse_budget("4.5bits").bits == 4.5


def test_flags_of_a_method_do_not_go_with_a_plan(tiny, tmp_path, capsys):
    """The plan chooses them; --text without a plan is refused as well."""
    assert cli.main(["compress", str(tiny), "--plan", "300kb", "--bits", "3", "--out", str(tmp_path / "a")]) == 2
    assert "leave --bits out" in capsys.readouterr().err
    assert cli.main(["compress", str(tiny), "--text", "x.txt", "--out", str(tmp_path / "b")]) == 2
    assert "--text belongs to --plan" in capsys.readouterr().err


def test_large_layers_are_sampled_and_never_underestimated(tmp_path, monkeypatch):
    """Evenly spaced rows; the bytes of the whole layer from its sample are at least those it has when stored."""
    from backcast.compress import shards
    from backcast.compress.stream import encode

    weights = (np.random.default_rng(0).standard_t(4, (300, 96)) * 0.1).astype(np.float32)
    monkeypatch.setattr(plan, "SAMPLE", 50 * 96)
    assert np.array_equal(sample(weights), weights[::6])
    shards.write(tmp_path / "w.safetensors", [("w.weight", "F32", weights.shape, weights)], {})
    (entry,) = shards.read_header(tmp_path / "w.safetensors")[0]
    (found,) = plan.measure([entry], tmp_path / "measured", 1)
    assert isinstance(found, Measured)
    for name, settings in CANDIDATES.items():
        stored = encode(weights, settings, "w").layout.bytes()
        assert stored <= found.bytes(name) <= stored + 200
    (again,) = plan.measure([entry], tmp_path / "measured", 1)
    assert again == found


def test_the_record_of_a_plan_follows_the_question(tiny, tmp_path):
    """The same question again is answered from the record; another is refused by name."""
    first = planned(tiny, tmp_path / "out", "4.5bits")
    assert planned(tiny, tmp_path / "out", "4.5bits") == first
    with pytest.raises(BadInput, match=r"budget: 4\.5bits -> 5bits"):
        planned(tiny, tmp_path / "out", "5bits")
    assert plan_job.Asked("x", "text").record()["text_sha256"]
