"""Supervised training end to end on a tiny Llama: it learns, resumes, merges, cuts and describes as promised."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backcast.core.errors import BadInput, InertMethod
from backcast.learn.sft import Card, preset, read_rows, train
from backcast.learn.sft.settings import PRESETS, SFTSettings
from backcast.lm.base import Prompt, Sampling
from backcast.lm.models import load

THINGS = ("river", "road", "mill", "garden", "letter", "bread", "house", "rain", "field", "hill")
TINY = preset("small", learning_rate=1e-2, batch=4, device_batch=2, epochs=30.0, samples=0, sample_tokens=48)


def row(thing: str, turns: int = 1) -> dict:
    spoken = f"<think>\nFirst I should say {thing}.\n</think>\n\nThe {thing} is old."
    asked = [{"role": "user", "content": f"Why the {thing}?"}] * turns
    return {"messages": [{"role": "system", "content": "Be kind."}, *asked, {"role": "assistant", "content": spoken}]}


ROWS = [row(thing) for thing in THINGS[:7]]
HELD_OUT = [row(thing) for thing in THINGS[7:]]


def weights(folder: Path) -> dict:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(bool((a[name] == b[name]).all()) for name in a)


@pytest.fixture(scope="module")
def learnt(tiny_llama, tmp_path_factory):
    """A full training, its result, and the card it was given."""
    out = tmp_path_factory.mktemp("learnt") / "model"
    card = Card("Tiny thinker", base_model="tiny-llama", licence="apache-2.0", data=["Seven sentences, CC0."])
    settings = preset(
        "small", method="full", learning_rate=5e-3, batch=4, epochs=40.0, samples=3, sample_tokens=96, eval_steps=10
    )
    result = train(ROWS, tiny_llama, out, settings, HELD_OUT, card)
    return out, result, settings, card


def test_the_paper_preset_holds_the_constants_of_the_paper():
    """Learning rate 2e-5, three epochs, 96 rows a step (2509.06160)."""
    paper = PRESETS["paper"]
    assert paper == SFTSettings()
    assert (paper.method, paper.learning_rate, paper.epochs, paper.batch) == ("full", 2e-5, 3.0, 96)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("smal", {}, "did you mean 'small'"),
        ("small", {"batch": 3, "device_batch": 2}, "multiple of device_batch, found 3 and 2"),
        ("small", {"epochs": 0.0}, "epochs must be more than 0, found 0.0"),
        ("small", {"lora_rank": 0}, "lora_rank must be at least 1, found 0"),
        ("small", {"lora_rnk": 4}, "lora_rnk"),
    ],
)
def test_bad_settings_are_named(name, changes, said):
    """A preset refuses an unknown name, an unknown setting and a value that cannot work."""
    with pytest.raises(BadInput, match=said):
        preset(name, **changes)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"prompt": "p", "answer": "a"}, "row 1: no column 'messages'; found: prompt, answer"),
        ({"messages": []}, "must be a list of turns"),
        ({"messages": [{"role": "user", "content": "x"}]}, "the last turn is the user's"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "nothing precedes the assistant's turn"),
        ({"messages": [{"role": "usr", "content": "x"}]}, "turn 1: unknown role 'usr'"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "turn 1: expected"),
        ({"messages": [{"role": "user", "content": " "}]}, "the user's turn is empty"),
    ],
)
def test_a_row_that_cannot_be_learnt_is_named(bad, said):
    """Each way in which a row can be no conversation that ends with the assistant gets its own line."""
    with pytest.raises(BadInput, match=said):
        read_rows([bad])


def test_rows_are_read_from_a_file_with_line_numbers(tmp_path):
    """A file gives the same conversations as a list of rows, and a bad line is named by file and number."""
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({**entry, "source": "x"}) for entry in ROWS))
    assert read_rows(path) == read_rows(ROWS)
    path.write_text(json.dumps(ROWS[0]) + "\n{}\n")
    with pytest.raises(BadInput, match=r"rows.jsonl, line 2: no column 'messages'; found: none"):
        read_rows(path)


@pytest.mark.method(1, proves="its traces teach a model to think first")
def test_it_learns_to_think_first(learnt, tiny_llama):
    """The tiny model learns the form from seven rows: the held-out NLL falls, and its answers open
    and close the block, which the untouched model's never do."""
    _, result, _, _ = learnt
    (gap,) = result.gaps
    assert gap.value < 0.5 * gap.baseline
    assert gap.high < 0
    assert (gap.n, gap.paired) == (3, True)
    vitals = {vital.name: vital for vital in result.vitals}
    assert vitals["thinking opened"].value == 1.0
    assert vitals["thinking closed"].value >= 2 / 3
    prompts = [Prompt.of(entry["messages"][:-1]) for entry in HELD_OUT]
    untouched = load(str(tiny_llama)).sample(prompts, 1, Sampling(0.7, max_tokens=96))
    assert not any(drawn[0].text.startswith("<think>") for drawn in untouched)
    assert vitals["held-out NLL"].ok
    assert vitals["truncated rows"].value == 0
    before, after = result.outputs["held_out_before"], result.outputs["held_out_after"]
    assert len(before) == len(after) == 3
    assert gap.value == pytest.approx(sum(after) / 3)


def test_the_curves_have_every_step_and_the_held_out_rows(learnt):
    """7 rows, 4 a step: two steps an epoch, 80 in all; held-out rows before, every ten and at the end, once each."""
    _, result, _, _ = learnt
    series = result.curves[0].series
    assert [step for step, _ in series["train"]] == list(range(1, 81))
    assert [step for step, _ in series["held-out"]] == list(range(0, 81, 10))
    assert series["held-out"][-1][1] == result.gaps[0].value


def test_the_folder_is_plain_whole_and_alone(learnt):
    """Weights, tokenizer, template, generation config, card and record; no checkpoint and no working folder beside."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out, _, _, _ = learnt
    assert [path.name for path in out.parent.iterdir()] == ["model"]
    assert {path.name for path in out.iterdir()} == {
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "training.json",
    }
    model = AutoModelForCausalLM.from_pretrained(out)
    ids = AutoTokenizer.from_pretrained(out).apply_chat_template(
        ROWS[0]["messages"][:-1], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    said = model.generate(**ids, max_new_tokens=8, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert AutoTokenizer.from_pretrained(out).decode(said).startswith("<think>")


def test_the_card_says_what_it_was_made_from(learnt):
    """The model card gives title, base, licence, data, settings and the gap."""
    from huggingface_hub import ModelCard

    out, result, _, _ = learnt
    card = ModelCard.load(out / "README.md")
    assert card.data.license == "apache-2.0"
    for said in ("# Tiny thinker", "Base model: tiny-llama", "Seven sentences, CC0.", "| `learning_rate` | 0.005 |"):
        assert said in card.text
    assert f"| {result.gaps[0].value:.3f} |" in card.text


def test_a_finished_training_is_not_repeated_and_not_overwritten(learnt, tiny_llama):
    """The same call returns the stored result and touches nothing; other settings at the same place are refused."""
    out, result, settings, card = learnt
    written = (out / "model.safetensors").stat().st_mtime_ns
    again = train(ROWS, tiny_llama, out, settings, HELD_OUT, card)
    assert again.to_dict() == result.to_dict()
    assert (out / "model.safetensors").stat().st_mtime_ns == written
    with pytest.raises(BadInput, match="was not made from these rows, model and settings"):
        train(ROWS[:-1], tiny_llama, out, settings, HELD_OUT, card)


SCRIPT = """
import json, sys
from pathlib import Path
from backcast.learn.sft import Card, train
from backcast.learn.sft.settings import SFTSettings
job = json.loads(sys.stdin.read())
train(job["rows"], job["model"], job["out"], SFTSettings(**job["settings"]), job["held_out"], Card("resumed"))
"""
STOCHASTIC = {**TINY.__dict__, "lora_dropout": 0.2, "save_seconds": 0.0, "epochs": 10.5}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_killed_and_resumed_it_ends_with_the_same_weights(tiny_llama, tmp_path):
    """kill -9 after a checkpoint, a torn newer checkpoint beside it: the resumed training has the weights of an
    uninterrupted one bit for bit, dropout included, and went on from the checkpoint (whose log was marked)."""
    whole = train(ROWS, tiny_llama, tmp_path / "whole", SFTSettings(**STOCHASTIC), HELD_OUT, Card("resumed"))
    job = {"rows": ROWS, "model": str(tiny_llama), "out": str(tmp_path / "killed"), "settings": STOCHASTIC}
    checkpoints = tmp_path / ".killed.training" / "checkpoints"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, text=True, env=os.environ)
    process.stdin.write(json.dumps({**job, "held_out": HELD_OUT}))
    process.stdin.close()
    while process.poll() is None and not (checkpoints / "checkpoint-5" / "trainer_state.json").exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    (checkpoints / "checkpoint-20").mkdir()
    (checkpoints / "checkpoint-20" / "trainer_state.json").write_text('{"global_st')
    states = [path for path in checkpoints.glob("*/trainer_state.json") if path.parent.name != "checkpoint-20"]
    for path in states:
        try:
            state = json.loads(path.read_text())
        except ValueError:  # the kill fell into the saving of a newer checkpoint
            continue
        state["log_history"].append({"step": 0, "loss": 1234.5})
        path.write_text(json.dumps(state))

    resumed = train(ROWS, tiny_llama, tmp_path / "killed", SFTSettings(**STOCHASTIC), HELD_OUT, Card("resumed"))
    assert same(weights(tmp_path / "killed"), weights(tmp_path / "whole"))
    assert resumed.outputs["held_out_before"] == whole.outputs["held_out_before"]
    assert resumed.outputs["held_out_after"] == whole.outputs["held_out_after"]
    losses = resumed.curves[0].series["train"]
    assert [0, 1234.5] in losses
    assert losses[-1] == whole.curves[0].series["train"][-1] == [21, losses[-1][1]]
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "killed"}


def test_an_adapter_is_merged_and_kept_when_asked(tiny_llama, tmp_path):
    """The merged folder computes what base and adapter compute together; only the layers asked for are adapted."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    settings = preset("small", learning_rate=1e-2, epochs=4.0, samples=0, keep_adapter=True, lora_layers=1)
    train(ROWS, tiny_llama, tmp_path / "out", settings, card=Card("merged", base_model="tiny"))
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_llama), tmp_path / "out" / "adapter")
    ids = torch.arange(3, 40)[None]
    with torch.inference_mode():
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")(ids).logits
        assert torch.allclose(merged, adapted(ids).logits, atol=1e-4)
    base, after = weights(tiny_llama), weights(tmp_path / "out")
    changed = {name for name in base if not bool((base[name] == after[name]).all())}
    assert changed
    assert all(name.startswith("model.layers.1.") for name in changed)
    described = json.loads((tmp_path / "out" / "adapter" / "adapter_config.json").read_text())
    assert described["base_model_name_or_path"] == "tiny"


def test_cut_rows_are_counted_and_rows_without_an_answer_left_out(tiny_llama, tmp_path):
    """Of three rows one fits, one loses its end and one its whole answer: all three facts are in the result."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    rows = [ROWS[0], row("river", turns=2), row("river", turns=9)]
    lengths = [len(tokenizer.apply_chat_template(entry["messages"], tokenize=True)["input_ids"]) for entry in rows]
    settings = preset("small", epochs=1.0, samples=0, max_length=lengths[1] - 5)
    assert lengths[0] <= settings.max_length
    result = train(rows, tiny_llama, tmp_path / "out", settings)
    assert (result.outputs["rows"], result.outputs["truncated"], result.outputs["dropped"]) == (3, 2, 1)
    vitals = {vital.name: vital for vital in result.vitals}
    assert vitals["truncated rows"].value == pytest.approx(2 / 3)
    assert not vitals["truncated rows"].ok
    assert vitals["held-out NLL"].ok is None
    assert vitals["thinking closed"].value is None
    with pytest.raises(BadInput, match=r"every row's prompt fills max_length \(8 tokens\)"):
        train(rows, tiny_llama, tmp_path / "none", preset("small", max_length=8))


def test_training_that_moves_nothing_is_an_error(tiny_llama, tmp_path):
    """A learning rate below the weights' precision changes no weight, and that is never reported as done."""
    settings = preset("small", method="full", learning_rate=1e-30, epochs=1.0, samples=0)
    with pytest.raises(InertMethod, match="supervised training is switched on but changed nothing"):
        train(ROWS, tiny_llama, tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


def test_models_that_cannot_learn_the_rows_are_refused(tiny_llama, tmp_path):
    """No tokenizer, no chat template, a template that drops thinking, one that knows no system role, no rows."""
    for name, drop in (("bare", "tokenizer"), ("base", "chat_template"), ("r1", ""), ("strict", "")):
        shutil.copytree(tiny_llama, tmp_path / name)
        for path in (tmp_path / name).glob(f"{drop}*" if drop else "nothing"):
            path.unlink()
    template = (tiny_llama / "chat_template.jinja").read_text()
    stripped = template.replace("message['content'] + '<|im_end|>' }}", "message['content'].split('</think>')[-1] }}")
    assert stripped != template
    (tmp_path / "r1" / "chat_template.jinja").write_text(stripped)
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + template
    (tmp_path / "strict" / "chat_template.jinja").write_text(refusing)
    for name, said in (
        ("bare", "has no tokenizer"),
        ("base", "has no chat template"),
        ("r1", "drops thinking blocks"),
        ("strict", "row 1: the model's chat template refuses the roles system, user, assistant: no system role"),
    ):
        with pytest.raises(BadInput, match=said):
            train(ROWS, tmp_path / name, tmp_path / "out", TINY)
    with pytest.raises(BadInput, match="no rows to train on"):
        train([], tiny_llama, tmp_path / "out", TINY)
    with pytest.raises(BadInput, match="lora_layers 9: the model has 2 layers"):
        train(ROWS, tiny_llama, tmp_path / "deep", preset("small", lora_layers=9))
