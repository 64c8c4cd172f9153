"""Which engine serves which files, and what is said where none can."""

import json
from pathlib import Path

import pytest

from backcast.core.errors import BadInput
from backcast.lm.serving import Choice, Serving, choose


def gguf(path: Path) -> Path:
    path.write_bytes(b"GGUF")
    return path


def marked_packed(folder: Path) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "backcast"}}))
    return folder


def test_files_decide(tiny_llama, tmp_path):
    """A folder goes to transformers (no GPU here), a GGUF file, or a folder that holds just one, to llama.cpp."""
    assert choose(str(tiny_llama)) == Choice("transformers", tiny_llama.resolve())
    file = gguf(tmp_path / "model.gguf")
    assert choose(str(file)) == Choice("llama.cpp", file)
    assert choose(str(tmp_path)) == Choice("llama.cpp", file)


def test_a_folder_of_several_gguf_files_is_asked_which(tmp_path):
    """Two files in one folder: one line that names one of them."""
    for name in ("a.gguf", "b.gguf"):
        gguf(tmp_path / name)
    with pytest.raises(BadInput, match=r"holds 2 GGUF files; name one, e\.g\. '.*a\.gguf'"):
        choose(str(tmp_path))


@pytest.mark.parametrize(
    ("model", "engine", "words"),
    [
        ("FOLDER", "llama.cpp", r"llama\.cpp reads \.gguf files"),
        ("FOLDER", "vlm", "unknown engine 'vlm'; did you mean 'vllm'"),
        ("http://localhost:1/v1", "auto", "is a server already"),
        ("missing.gguf", "auto", r"no file 'missing\.gguf'"),
        ("missing", "auto", "unknown model 'missing'"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(tiny_llama, model, engine, words):
    """Wrong engine, unknown engine, a server's address, files that are not there."""
    with pytest.raises(BadInput, match=words):
        choose(str(tiny_llama) if model == "FOLDER" else model, engine)


def test_a_packed_folder_is_not_for_vllm(tmp_path):
    """vllm would not know our quantizer: the line names what can be done."""
    from backcast.lm.tiny import make_tiny_llama

    folder = marked_packed(make_tiny_llama(tmp_path / "packed", hidden=32, layers=1, vocabulary=300))
    with pytest.raises(BadInput, match=r"vllm cannot read the packed .* --to dense"):
        choose(str(folder), "vllm")
    assert choose(str(folder)).engine == "transformers"


def test_an_engine_that_is_not_installed_names_its_package(tiny_llama):
    """vllm is not here: the line gives the command that installs it."""
    pytest.importorskip("torch")
    with pytest.raises(BadInput, match="needs the package 'vllm': pip install vllm"):
        choose(str(tiny_llama), "vllm")


@pytest.mark.parametrize("name", ["", "a b", "../x", "a@b", "-x"])
def test_a_name_is_one_plain_word(name):
    """Names stand in addresses and paths."""
    with pytest.raises(BadInput, match="choose one by --name"):
        Serving(name)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_is_a_port(port):
    """Outside 0 to 65535 it is refused."""
    with pytest.raises(BadInput, match="port must be 0"):
        Serving("m", port=port)
