"""Packing a folder: resumable, deterministic, bounded, and clear about what it refuses."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from backcast.compress import shards, stream
from backcast.compress.layout import Encoded, decode
from backcast.compress.rtn import RTN
from backcast.compress.stream import Job, layouts, pack_model
from backcast.compress.wgm import preset
from backcast.core.errors import BadInput

LINEARS = 14


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_file_size_and_numbers_are_those_of_the_formula(tiny, tmp_path):
    """Every packed tensor in the file has the bytes of its layout and decodes to what the encoder made."""
    job = Job(tiny, tmp_path / "out", preset("ours", 4))
    told = pack_model(job)
    entries, _ = shards.read_header(job.out / "model.safetensors")
    plain = load_file(tiny / "model.safetensors")
    found = layouts(json.loads((job.out / "config.json").read_text()))
    assert len(found) == LINEARS
    for name, layout in found.items():
        own = {e.name.removeprefix(name + "."): e for e in entries if e.name.startswith(name + ".")}
        assert sum(entry.size for entry in own.values()) == layout.bytes()
        tensors = {
            key: shards.read(entry).view(layout.shapes()[key][0]).reshape(entry.shape) for key, entry in own.items()
        }
        weights = plain[name + ".weight"].numpy()
        expected = stream.encode(weights, job.settings, name)
        assert np.array_equal(decode(Encoded(layout, tensors)), decode(expected))
    record = next(r for r in told["tensors"] if r["name"].endswith("layers.0.mlp.up_proj.weight"))
    assert 0 < record["squared_error"] < 0.02 * record["square"]
    untouched = {entry.name for entry in entries} & set(plain)
    assert "model.embed_tokens.weight" in untouched
    assert "model.embed_tokens" in told["untouched"]


def test_any_number_of_workers_and_an_interruption_give_the_same_bytes(tiny, tmp_path, monkeypatch):
    """Two workers, and a run that died after five tensors and was begun again, write byte-identical folders."""
    once = Job(tiny, tmp_path / "once", RTN(3))
    pack_model(once)
    two = Job(tiny, tmp_path / "two", RTN(3), jobs=2)
    pack_model(two)
    again = Job(tiny, tmp_path / "again", RTN(3))
    real, calls = stream.encode, []

    def dying(*args):
        calls.append(args)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(stream, "encode", dying)
    with pytest.raises(KeyboardInterrupt):
        pack_model(again)
    assert (again.out / stream.WORK).exists()
    assert not (again.out / "model.safetensors").exists()
    pack_model(again)
    assert len(calls) == 6 + LINEARS - 5
    assert files(once.out) == files(two.out) == files(again.out)
    assert not (again.out / stream.WORK).exists()


def test_shards_stay_shards(tiny, tmp_path):
    """A source in two shards with an index gives two shards with an index, and the tensors of the single file."""
    source = tmp_path / "sharded"
    shutil.copytree(tiny, source)
    (source / "model.safetensors").unlink()
    plain = load_file(tiny / "model.safetensors")
    names = sorted(plain)
    where = {}
    for i, part in enumerate((names[:9], names[9:]), start=1):
        file = f"model-0000{i}-of-00002.safetensors"
        save_file({name: plain[name] for name in part}, source / file, {"format": "pt"})
        where |= dict.fromkeys(part, file)
    (source / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    pack_model(Job(tiny, tmp_path / "one", RTN(4)))
    pack_model(Job(source, tmp_path / "many", RTN(4)))
    one = load_file(tmp_path / "one" / "model.safetensors")
    many = {}
    for path in sorted((tmp_path / "many").glob("*.safetensors")):
        many |= load_file(path)
    assert one.keys() == many.keys()
    assert all(torch.equal(one[name], many[name]) for name in one)
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == many.keys()


def test_patterns_choose_layers(tiny, tmp_path):
    """--include and --exclude by pattern; what is left out is reported; a pattern without a match is refused."""
    told = pack_model(Job(tiny, tmp_path / "a", RTN(4), include=("*.mlp.*",), exclude=("*.0.*",)))
    assert len(told["tensors"]) == 3
    assert "model.layers.0.self_attn.q_proj" in told["untouched"]
    with pytest.raises(BadInput, match=r"no linear or convolution layer matches '\*\.mpl\.\*'"):
        pack_model(Job(tiny, tmp_path / "b", RTN(4), include=("*.mpl.*",)))
    with pytest.raises(BadInput, match="no layer is left"):
        pack_model(Job(tiny, tmp_path / "b", RTN(4), exclude=("*",)))


def test_what_cannot_be_compressed_is_one_clear_line(tiny, tmp_path):
    """No weights, bin files only, damaged header, NaN with tensor and index, a packed model, a foreign --out."""
    bare = tmp_path / "bare"
    bare.mkdir()
    with pytest.raises(BadInput, match=r"no config\.json"):
        pack_model(Job(bare, tmp_path / "o", RTN(4)))
    shutil.copy(tiny / "config.json", bare)
    with pytest.raises(BadInput, match="no weights"):
        pack_model(Job(bare, tmp_path / "o", RTN(4)))
    (bare / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(BadInput, match="re-save"):
        pack_model(Job(bare, tmp_path / "o", RTN(4)))
    broken = tmp_path / "broken"
    shutil.copytree(tiny, broken)
    (broken / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(BadInput, match="is damaged"):
        pack_model(Job(broken, tmp_path / "o", RTN(4)))
    poisoned = load_file(tiny / "model.safetensors")
    poisoned["model.layers.1.mlp.up_proj.weight"][3, 7] = float("nan")
    save_file(poisoned, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadInput, match=r"model\.layers\.1\.mlp\.up_proj\.weight.*\[3, 7\]"):
        pack_model(Job(broken, tmp_path / "o", RTN(4)))
    done = Job(tiny, tmp_path / "done", RTN(4))
    pack_model(done)
    with pytest.raises(BadInput, match="packed already"):
        pack_model(Job(done.out, tmp_path / "o2", RTN(4)))
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    with pytest.raises(BadInput, match="holds other files"):
        pack_model(Job(tiny, foreign, RTN(4)))
    assert [path.name for path in foreign.iterdir()] == ["thesis.txt"]


def test_other_settings_on_a_begun_folder_say_what_differs(tiny, tmp_path):
    """A folder begun with 4 bits refuses 3, and names the setting."""
    out = tmp_path / "out"
    stream.begin(Job(tiny, out, RTN(4)))
    with pytest.raises(BadInput, match="bits: 4 -> 3"):
        pack_model(Job(tiny, out, RTN(3)))


def test_a_full_disk_leaves_what_was_done(tiny, tmp_path, monkeypatch):
    """If writing a shard fails for lack of room, the parts stay, and the next run only assembles."""
    job = Job(tiny, tmp_path / "out", RTN(4))
    real = shards.write

    def full(path, *rest):
        if path.name == "model.safetensors":
            raise OSError(28, "No space left on device", str(path))
        real(path, *rest)

    monkeypatch.setattr(shards, "write", full)
    with pytest.raises(OSError, match="No space"):
        pack_model(job)
    monkeypatch.setattr(shards, "write", real)
    monkeypatch.setattr(stream, "encode", None)  # nothing is encoded again
    pack_model(job)
    assert (job.out / "model.safetensors").exists()
