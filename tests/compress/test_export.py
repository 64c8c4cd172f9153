"""``backcast export``: every target loaded by the program it is for, and what it cannot hold refused."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen

import httpx
import numpy as np
import pytest
import torch

from backcast import cli
from backcast.compress.export import Wish, export, llama_words, uniform
from backcast.compress.opened import open_folder
from backcast.compress.reload import plain_route
from backcast.compress.rtn import RTN
from backcast.compress.score import load
from backcast.compress.splitquant import SplitQuant
from backcast.compress.stream import Job, pack_model
from backcast.compress.wgm import WGM, preset
from backcast.core.errors import BadInput

SETTINGS = {
    "ours 4": preset("ours", 4),
    "exact 5": preset("exact", 5),
    "row 4": WGM(8, "row"),
    "group 4": WGM(8, "group", 24),
    "v3 4": WGM(8),
    "one bit": WGM(1, block=128),
    "rtn 4": RTN(4),
    "rtn 3 of 48": RTN(3, block=48),
    "rtn 7 row": RTN(7, "row"),
    "rtn 2 tensor": RTN(2, "tensor"),
    "rtn 4 group": RTN(4, "group", 24),
    "split": SplitQuant(4),
    "split 8 masked": SplitQuant(8, masked=True),
    "planes": SplitQuant(4, form="planes"),
    "planes of 48": SplitQuant(2, "block", 48, form="planes"),
}


@pytest.fixture(scope="module")
def wide(tmp_path_factory) -> Path:
    """A tiny Llama whose columns fill blocks of 128."""
    from backcast.lm.tiny import make_tiny_llama

    return make_tiny_llama(tmp_path_factory.mktemp("wide") / "model", hidden=128, layers=1)


@pytest.fixture(scope="module")
def packed(wide, tmp_path_factory):
    """The folder of the tiny model packed by a named setting, made once."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("packed") / name.replace(" ", "-")
            pack_model(Job(wide, made[name], SETTINGS[name]))
        return made[name]

    return get


def logits(folder: Path, ids) -> np.ndarray:
    model, _ = load(folder)
    with torch.no_grad(), plain_route(model):
        return model(torch.tensor(ids)).logits.numpy()


IDS = [[5, 9, 200, 31, 7, 44, 120, 3]]

LOAD_PLAIN = """
import sys, torch, numpy
from transformers import AutoModelForCausalLM
ids = torch.tensor(eval(sys.argv[1]))
for folder in sys.argv[2:]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        numpy.save(folder + ".npy", model(ids).logits.numpy())
assert not any(name.startswith("backcast") for name in sys.modules)
"""

WITHOUT_US = {
    "ours 4": "dense",
    "split": "dense",
    **dict.fromkeys(("rtn 4", "rtn 7 row", "rtn 2 tensor", "rtn 4 group"), "compressed-tensors"),
}


def test_folders_that_need_nothing_of_ours_give_the_same_logits(packed, tmp_path):
    """Another process, without backcast, loads them with plain transformers (and the package that owns the format):
    bit for bit the packed models' logits, zero points and scales included."""
    for name, to in WITHOUT_US.items():
        assert export(Wish(packed(name), tmp_path / name, to))["lossless"]
    folders = [str(tmp_path / name) for name in WITHOUT_US]
    subprocess.run([sys.executable, "-c", LOAD_PLAIN, repr(IDS), *folders], check=True, capture_output=True)
    for name in WITHOUT_US:
        assert np.array_equal(np.load(tmp_path / f"{name}.npy"), logits(packed(name), IDS)), name


def test_a_shorter_dense_folder_tells_what_it_costs(packed, tmp_path):
    """bfloat16 halves the file and adds the error of eight bits of mantissa; float32 adds none."""
    exact = export(Wish(packed("ours 4"), tmp_path / "dense", "dense"))
    assert exact["logits_differ"] == 0
    assert "quantization_config" not in json.loads((tmp_path / "dense" / "config.json").read_text())
    short = export(Wish(packed("ours 4"), tmp_path / "short", "dense", "bfloat16"))
    assert not short["lossless"]
    assert 1e-7 < short["extra_relative_mse"] < 2**-16
    assert short["bytes"] < exact["bytes"]


@pytest.mark.parametrize("name", ["ours 4", "split", "planes", "one bit", "rtn 3 of 48"])
def test_compressed_tensors_refuses_what_is_no_even_grid(packed, tmp_path, capsys, name):
    """One line, exit code 2, nothing left behind."""
    code = cli.main(["export", str(packed(name)), "--to", "compressed-tensors", "--out", str(tmp_path / "ct")])
    said = capsys.readouterr().err.strip()
    assert code == 2
    assert said.startswith("backcast: compressed-tensors")
    assert "\n" not in said
    assert list(tmp_path.iterdir()) == []


def test_words_hold_codes_from_the_lowest_bits_up():
    """By hand: four bits, eight codes to a word."""
    codes = np.array([[1, 2, 3, 4, 5, 6, 7, 8, 9]], dtype=np.uint32)
    assert uniform.words(codes, 4).view(np.uint32).tolist() == [[0x87654321, 0x9]]


@pytest.mark.parametrize("name", SETTINGS)
def test_an_onnx_graph_gives_the_logits(packed, tmp_path, name):
    """Every stored kind, in onnxruntime: within 1e-4 of the largest logit, at another batch and length."""
    import onnxruntime

    said = export(Wish(packed(name), tmp_path / "onnx", "onnx"))
    assert said["logits_differ"] < 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])
    ids = np.arange(33, dtype=np.int64).reshape(3, 11)
    (theirs,) = session.run(None, {"input_ids": ids})
    ours = logits(packed(name), ids.tolist())
    assert np.abs(theirs - ours).max() < 1e-4 * np.abs(ours).max()
    operators = {node.op_type for node in onnx_nodes(tmp_path / "onnx" / "model.onnx")}
    grid = name in ("rtn 4", "rtn 7 row", "rtn 2 tensor", "rtn 4 group", "planes")
    assert ("MatMulNBits" in operators) == grid
    assert bool({"GatherElements", "ScatterElements"} & operators) == (not grid)


def onnx_nodes(path: Path):
    import onnx

    return onnx.load(path, load_external_data=False).graph.node


@pytest.fixture
def llama(tmp_path):
    """Starts llama.cpp's server on a GGUF file; the function that asks it."""
    running = []

    def start(gguf: Path) -> str:
        script = Path(__file__).parents[1] / "contracts" / "llama_server.py"
        server = Popen([sys.executable, script, gguf], stdin=PIPE, stdout=PIPE, stderr=DEVNULL, text=True)
        running.append(server)
        return server.stdout.readline().strip()

    yield start
    for server in running:
        server.stdin.close()
        server.wait(20)


def first_probabilities(address: str, ids: list[int]) -> tuple[list[int], dict[int, float]]:
    """(tokens that llama.cpp goes on with, log-probabilities of the likeliest first ones)."""
    asked = {
        "prompt": ids,
        "n_predict": 6,
        "temperature": 0,
        "n_probs": 5,
        "return_tokens": True,
        "cache_prompt": False,
    }
    said = httpx.post(address + "/completion", json=asked, timeout=60).json()
    return said["tokens"], {row["id"]: row["logprob"] for row in said["completion_probabilities"][0]["top_logprobs"]}


@pytest.mark.parametrize(
    ("name", "rest", "types", "near"),
    [
        ("ours 4", "f32", {"F32"}, 0.02),
        ("ours 4", None, {"F32", "Q8_0"}, 0.6),
        ("rtn 4", None, {"F32", "Q8_0"}, 0.6),
        ("one bit", None, {"F32", "Q1_0"}, 0.6),
    ],
)
@pytest.mark.method(7, 8, proves="runs in llama.cpp")
def test_llama_cpp_loads_the_file_and_goes_on_alike(packed, tmp_path, llama, name, rest, types, near):
    """Real llama.cpp: the likeliest token and its log-probability are the model's, closely in float32 (for its block
    types it rounds the activations to 8 bits, and this random model is touchy); the same tokens for a text."""
    gguf = tmp_path / "model.gguf"
    said = export(Wish(packed(name), gguf, "gguf", rest))
    assert set(said["types"]) == types
    assert said["lossless"] == (name != "ours 4" or rest == "f32")
    address = llama(gguf)
    model, tokenizer = load(packed(name))
    text = "The river rises, 12 + 30 = 42.\n\n  It's over."
    ids = tokenizer(text).input_ids
    assert httpx.post(address + "/tokenize", json={"content": text}).json()["tokens"] == ids
    tokens, found = first_probabilities(address, ids)
    with torch.no_grad():
        expected = torch.log_softmax(model(torch.tensor([ids])).logits[0, -1], -1)
    assert float(expected.max() - expected[tokens[0]]) < near
    assert abs(found[tokens[0]] - float(expected[tokens[0]])) < near
    assert len(tokens) == 6


def test_what_is_requantised_is_told(packed, tmp_path):
    """A grouping goes to 8 bits with the error that this adds; fewer bits, more error."""
    eight = export(Wish(packed("ours 4"), tmp_path / "a.gguf", "gguf"))
    four = export(Wish(packed("ours 4"), tmp_path / "b.gguf", "gguf", "q4_0"))
    assert 0 < eight["extra_relative_mse"] < 1e-4 < four["extra_relative_mse"] < 0.05
    assert four["bytes"] < eight["bytes"]


def test_tokenizers_by_their_way_of_cutting():
    """Known shapes have llama.cpp's names; any other is refused rather than written wrongly."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    assert llama_words.cutter(level) == "gpt-2"
    assert llama_words.cutter({"type": "Sequence", "pretokenizers": [digits, level]}) == "smollm"
    with pytest.raises(BadInput, match="no name for this tokenizer's way"):
        llama_words.cutter({"type": "Metaspace"})


def test_again_is_answered_and_otherwise_refused(packed, tmp_path):
    """The same export again gives the same figures; another into the same place does not overwrite it."""
    out = tmp_path / "dense"
    first = export(Wish(packed("rtn 4"), out, "dense"))
    assert export(Wish(packed("rtn 4"), out, "dense")) == first
    with pytest.raises(BadInput, match="holds another export"):
        export(Wish(packed("rtn 4"), out, "dense", "float16"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match="no export of ours"):
        export(Wish(packed("rtn 4"), tmp_path / "other", "dense"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--to", "gguf", "--out", "model.bin"), "must end with .gguf"),
        (("--to", "gguf", "--out", "m.gguf", "--rest", "q9"), "no GGUF type written here"),
        (("--to", "dense", "--out", "d", "--rest", "int4"), "no format of a dense folder"),
        (("--to", "onnx", "--out", "o", "--rest", "f16"), "--rest does not belong to onnx"),
    ],
)
def test_bad_wishes_are_one_line(packed, tmp_path, monkeypatch, capsys, words, said):
    """Exit code 2, what was wrong, nothing written."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", str(packed("rtn 4")), *words]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_missing_is_named(packed, tmp_path, monkeypatch, capsys):
    """Without the extra: one line with the command that installs it."""
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "onnx" else real(name, *rest))
    assert cli.main(["export", str(packed("rtn 4")), "--to", "onnx", "--out", str(tmp_path / "o")]) == 2
    assert "pip install 'backcast[export]'" in capsys.readouterr().err


def test_a_plain_or_foreign_folder(wide, packed, tmp_path):
    """Plain folders go to gguf and onnx, not to dense; a folder that somebody else packed is refused by name."""
    assert export(Wish(wide, tmp_path / "m.gguf", "gguf"))["lossless"]
    assert export(Wish(wide, tmp_path / "onnx", "onnx"))["logits_differ"] < 1e-5
    with pytest.raises(BadInput, match="is not packed"):
        export(Wish(wide, tmp_path / "d", "dense"))
    export(Wish(packed("rtn 4"), tmp_path / "ct", "compressed-tensors"))
    with pytest.raises(BadInput, match="packed by 'compressed-tensors'"):
        open_folder(tmp_path / "ct")
    config = json.loads((tmp_path / "ct" / "config.json").read_text())
    del config["quantization_config"]
    (tmp_path / "ct" / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}))
    with pytest.raises(BadInput, match="not 'gpt2'"):
        export(Wish(tmp_path / "ct", tmp_path / "g.gguf", "gguf"))
