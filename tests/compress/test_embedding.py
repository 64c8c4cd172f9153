"""``--embedding``: input embedding and head packed in 8 bits, tied where they were, loaded and exported."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from backcast import cli
from backcast.compress.export import Wish, export
from backcast.compress.job import folder_bytes
from backcast.compress.opened import open_folder
from backcast.compress.packed import PackedEmbedding, PackedLinear
from backcast.compress.reload import plain_route
from backcast.compress.rtn import RTN
from backcast.compress.rtn import encode as rtn_encode
from backcast.compress.score import load
from backcast.compress.stream import Job, pack_model
from backcast.compress.unpacked import dequantise, take_rows
from backcast.core.errors import BadInput

IDS = torch.tensor([[5, 9, 200, 31, 7, 7, 120, 3]])


@pytest.fixture(scope="module")
def packed(tiny, tmp_path_factory):
    """The tiny model (tied embedding) with everything packed."""
    out = tmp_path_factory.mktemp("packed") / "out"
    pack_model(Job(tiny, out, RTN(6), embedding=True))
    return out


def test_rows_taken_alone_are_rows_of_the_whole():
    """Bit for bit, in any order, from rows and from blocks."""
    weights = (np.random.default_rng(0).standard_normal((20, 70)) * 0.1).astype(np.float32)
    for settings in (RTN(8, "row"), RTN(5, "block", 32)):
        encoded = rtn_encode(weights, settings)
        stored = {name: torch.from_numpy(values) for name, values in encoded.tensors.items()}
        rows = torch.tensor([3, 19, 0])
        assert torch.equal(
            dequantise(*take_rows(encoded.layout, stored, rows)), dequantise(encoded.layout, stored)[rows]
        )
    with pytest.raises(ValueError, match="cannot be taken alone"):
        take_rows(replace(encoded.layout, kind="scaled"), stored, rows)


def test_rows_are_looked_up_by_the_kernel():
    """Bit for bit those of the whole, in any order, repeated or none; an id beyond the last row is refused."""
    weights = (np.random.default_rng(0).standard_normal((20, 70)) * 0.1).astype(np.float32)
    for settings in (RTN(8, "row"), RTN(5, "block", 32)):
        encoded = rtn_encode(weights, settings)
        module = PackedEmbedding(encoded.layout, torch.nn.Embedding(20, 70))
        for name, values in encoded.tensors.items():
            getattr(module, name).data.copy_(torch.from_numpy(values))
        ids = torch.tensor([[3, 19], [0, 3]], dtype=torch.int32)
        assert torch.equal(module(ids), module.dense()[ids.long()])
        assert module(ids[:, :0]).shape == (2, 0, 70)
        assert torch.equal(module.to(torch.bfloat16)(ids), module.dense()[ids.long()].bfloat16())
        for wrong in (20, -1):
            with pytest.raises(IndexError, match=f"row {wrong} of a matrix of 20 rows"):
                module(torch.tensor([0, wrong]))


def test_embedding_and_head_share_their_codes(tiny, packed, tmp_path):
    """Loaded: one set of codes for both, near the original, smaller; saved again it is the same and loads again."""
    model, tokenizer = load(packed)
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    assert isinstance(embedding, PackedEmbedding)
    assert isinstance(head, PackedLinear)
    for name in embedding.layout.shapes():
        assert getattr(head, name).data_ptr() == getattr(embedding, name).data_ptr()
    original, _ = load(tiny)
    with torch.no_grad():
        expected, found = original(IDS).logits, model(IDS).logits
        with plain_route(model):
            assert torch.allclose(model(IDS).logits, found, atol=1e-4 * float(found.abs().max()))
        looked_up = embedding(IDS)
    plain = original.get_input_embeddings().weight.detach()
    assert (looked_up - plain[IDS]).abs().max() < 0.006 * plain.abs().max()
    assert (found - expected).norm() < 0.2 * expected.norm()
    model.save_pretrained(tmp_path / "again")
    tokenizer.save_pretrained(tmp_path / "again")
    names = load_file(tmp_path / "again" / "model.safetensors").keys()
    assert "model.embed_tokens.scale" in names
    assert not any(name.startswith("lm_head") for name in names)
    again, _ = load(tmp_path / "again")
    with torch.no_grad():
        assert torch.equal(again(IDS).logits, found)


def test_it_follows_casts_and_generates(packed):
    """In bfloat16 the rows are bfloat16; greedy text goes on."""
    model, tokenizer = load(packed)
    ids = tokenizer("the river", return_tensors="pt").input_ids
    made = model.generate(ids, max_new_tokens=5, do_sample=False, pad_token_id=0)
    assert made.shape[1] > ids.shape[1]
    assert model.to(torch.bfloat16).get_input_embeddings()(ids).dtype == torch.bfloat16


def test_a_head_of_its_own_is_packed_too(tiny, tmp_path):
    """Untied: embedding and head each have their codes."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    config = LlamaConfig.from_pretrained(tiny)
    config.tie_word_embeddings = False
    torch.manual_seed(1)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "untied")
    AutoTokenizer.from_pretrained(tiny).save_pretrained(tmp_path / "untied")
    told = pack_model(Job(tmp_path / "untied", tmp_path / "out", RTN(6), embedding=True))
    assert {"lm_head.weight", "model.embed_tokens.weight"} <= {record["name"] for record in told["tensors"]}
    assert told["untouched"] == {}
    model, _ = load(tmp_path / "out")
    assert model.lm_head.weight.data_ptr() != model.model.embed_tokens.weight.data_ptr()


def test_a_plan_reaches_further_down(tiny, tmp_path, capsys):
    """With the flag a budget can be met that is below the minimum without it, and it is kept."""
    words = ["compress", str(tiny), "--plan", "190kb", "--out", str(tmp_path / "out")]
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert "below the least" in said
    assert "--embedding packs the words too" in said
    assert cli.main([*words, "--embedding", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["bytes_after"] == folder_bytes(tmp_path / "out") <= 190_000
    assert not {"lm_head", "model.embed_tokens"} & said["untouched"].keys()


def test_it_exports(packed, tmp_path):
    """Dense and compressed-tensors (where the embedding is plain again) load without us, equal; GGUF and ONNX too."""
    expected = load(packed)[0]
    with torch.no_grad(), plain_route(expected):
        logits = expected(IDS).logits
    for to in ("dense", "compressed-tensors"):
        assert export(Wish(packed, tmp_path / to, to))["lossless"]
    code = (
        "import sys, torch, numpy; from transformers import AutoModelForCausalLM as A\n"
        "for f in sys.argv[1:]:\n"
        "    m = A.from_pretrained(f, dtype=torch.float32)\n"
        f"    numpy.save(f + '.npy', m(torch.tensor({IDS.tolist()})).logits.detach().numpy())"
    )
    folders = [str(tmp_path / to) for to in ("dense", "compressed-tensors")]
    subprocess.run([sys.executable, "-c", code, *folders], check=True, capture_output=True)
    for folder in folders:
        np.testing.assert_allclose(
            np.load(folder + ".npy"), logits.numpy(), rtol=0, atol=1e-5 * float(logits.abs().max())
        )
    assert export(Wish(packed, tmp_path / "onnx", "onnx"))["logits_differ"] < 1e-4
    said = export(Wish(packed, tmp_path / "m.gguf", "gguf"))
    assert said["extra_relative_mse"] < 1e-4
    assert open_folder(packed).vocabulary == ["model.embed_tokens"]


def test_a_model_without_words(tmp_path):
    """Named, with what to do."""
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic", num_channels=3)
    ResNetForImageClassification(config).save_pretrained(tmp_path / "vision")
    with pytest.raises(BadInput, match="has no plain embedding of words; leave the flag out"):
        pack_model(Job(tmp_path / "vision", tmp_path / "out", RTN(6), embedding=True))
