"""Models of other families: names that transformers changes, experts, encoders, layers that must stay as they are."""

import json
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from backcast import cli
from backcast.compress.opened import open_folder
from backcast.compress.packed import PackedLinear
from backcast.compress.shards import INDEX, source_shards
from backcast.core.errors import BadInput
from backcast.lm.tiny import tiny_tokenizer, tiny_vlm

SMALL = {"vocab_size": 512, "num_hidden_layers": 1, "num_attention_heads": 4, "initializer_range": 0.3}
ENCODER = {**SMALL, "hidden_size": 64, "intermediate_size": 96, "pad_token_id": 0}
DECODER = {**ENCODER, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2}


def saved(folder, kind, config):
    """A random model of a class, with the tiny tokenizer."""
    torch.manual_seed(0)
    getattr(transformers, kind)(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def compressed(source, out, capsys, *words):
    """The figures of ``backcast compress --json``."""
    code = cli.main(["compress", str(source), "--out", str(out), "--method", "rtn", "--bits", "8", "--json", *words])
    said = capsys.readouterr()
    assert code == 0, said.err
    return json.loads(said.out)


def refused(source, out, capsys, *words):
    """The one line of a refused command."""
    capsys.readouterr()
    code = cli.main(["compress", str(source), "--out", str(out), "--method", "rtn", *words])
    said = capsys.readouterr().err.strip()
    assert code == 2
    assert len(said.splitlines()) == 1
    return said


def decoded(original, out):
    """The original with the packed layers' decoded weights, by the names in the model."""
    opened = open_folder(out)
    modules = opened.config["quantization_config"].get("modules", {})
    with torch.no_grad():
        for name in opened.layouts:
            weight = original.get_submodule(modules.get(name, name)).weight
            weight.copy_(torch.from_numpy(opened.dense(f"{name}.weight")))
    return original.eval()


def test_a_model_whose_layers_transformers_renames(tmp_path, capsys):
    """A vision-language model: files say ``model.layers``, the model ``model.language_model.layers``. Text and vision
    layers are packed, load with plain from_pretrained to the decoded numbers, and survive being saved again."""
    model, processor = tiny_vlm()
    model.save_pretrained(tmp_path / "vlm")
    processor.save_pretrained(tmp_path / "vlm")
    figures = compressed(tmp_path / "vlm", tmp_path / "out", capsys)
    assert figures["checked"] == "layers"
    layouts = open_folder(tmp_path / "out").layouts
    assert {"model.layers.1.mlp.down_proj", "visual.blocks.0.attn.qkv"} <= layouts.keys()
    assert not set(layouts) & set(figures["untouched"])
    ids = torch.arange(5, 21)[None]
    load = transformers.AutoModelForImageTextToText.from_pretrained
    with torch.no_grad():
        expected = decoded(model, tmp_path / "out")(ids).logits
        packed = load(tmp_path / "out").eval()
        assert sum(isinstance(module, PackedLinear) for module in packed.modules()) == len(layouts)
        assert (packed(ids).logits - expected).abs().max() < 1e-4 * expected.abs().max()
        packed.save_pretrained(tmp_path / "again")
        assert torch.equal(load(tmp_path / "again").eval()(ids).logits, packed(ids).logits)
    compressed(tmp_path / "vlm", tmp_path / "words", capsys, "--embedding")
    with torch.no_grad():
        found = load(tmp_path / "words").eval()(ids).logits
        assert (found - decoded(load(tmp_path / "vlm"), tmp_path / "words")(ids).logits).abs().max() < 1e-3
    assert cli.main(["export", str(tmp_path / "out"), "--to", "dense", "--out", str(tmp_path / "plain")]) == 0
    with torch.no_grad():
        assert torch.allclose(load(tmp_path / "plain").eval()(ids).logits, expected, rtol=0, atol=1e-4)


def test_experts_stay_and_are_named(tmp_path, capsys):
    """Fused experts are neither linear layers nor silently left out of the account."""
    config = transformers.MixtralConfig(**DECODER, num_local_experts=4)
    figures = compressed(saved(tmp_path / "m", "MixtralForCausalLM", config), tmp_path / "out", capsys)
    assert "MixtralExperts" in figures["untouched"]["model.layers.0.mlp.experts"]
    assert figures["sample"].startswith("The capital")


def test_a_model_without_linear_layers_says_what_it_has(tmp_path, capsys):
    """GPT-2's matrices are transposed layers of transformers' own."""
    config = transformers.GPT2Config(vocab_size=512, n_embd=32, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=2)
    said = refused(saved(tmp_path / "m", "GPT2LMHeadModel", config), tmp_path / "out", capsys)
    assert "no linear or convolution layer that can be packed" in said
    assert "'transformer.h.0.attn.c_attn' is a Conv1D" in said
    assert not (tmp_path / "out").exists()


def test_encoders_are_checked_layer_by_layer(tmp_path, capsys):
    """A classifier and a translator have tokenizers and do not continue text; what T5 wants in float32 stays."""
    config = transformers.BertConfig(**ENCODER)
    source = saved(tmp_path / "bert", "BertForSequenceClassification", config)
    assert compressed(source, tmp_path / "bert8", capsys)["checked"] == "layers"
    assert "no causal language model" in refused(source, tmp_path / "other", capsys, "--check", "model")
    text = tmp_path / "text.txt"
    text.write_text("The river rises in the hills. " * 50)
    assert cli.main(["judge", str(tmp_path / "bert8"), "--on", f"perplexity:{text}"]) == 2
    assert "is a BertForSequenceClassification, which continues no text" in capsys.readouterr().err
    t5 = transformers.T5Config(
        vocab_size=512, d_model=64, d_kv=16, d_ff=96, num_layers=1, num_heads=4, decoder_start_token_id=0
    )
    source = saved(tmp_path / "t5", "T5ForConditionalGeneration", t5)
    figures = compressed(source, tmp_path / "t5-8", capsys)
    assert any(name.endswith("DenseReluDense.wo") and "float32" in why for name, why in figures["untouched"].items())
    ids = torch.arange(5, 21)[None]
    load = transformers.AutoModelForSeq2SeqLM.from_pretrained
    with torch.no_grad():
        expected = decoded(load(source), tmp_path / "t5-8")(input_ids=ids, decoder_input_ids=ids).logits
        found = load(tmp_path / "t5-8").eval()(input_ids=ids, decoder_input_ids=ids).logits
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def test_weights_that_a_model_takes_by_itself(tmp_path, capsys):
    """Mamba multiplies with some weights directly: the kernels of its convolution stay, for the others it is said that
    the model does not run packed and what to do, and doing it helps."""
    config = transformers.MambaConfig(vocab_size=512, hidden_size=32, num_hidden_layers=1, state_size=4)
    source = saved(tmp_path / "m", "MambaForCausalLM", config)
    code = cli.main(["compress", str(source), "--out", str(tmp_path / "1"), "--method", "rtn"])
    said = capsys.readouterr().err
    assert code == 1
    assert "MambaForCausalLM does not run with packed layers" in said
    assert "--exclude" in said
    figures = compressed(source, tmp_path / "2", capsys, "--exclude", "*.dt_proj")
    assert "single channels" in figures["untouched"]["backbone.layers.0.mixer.conv1d"]
    assert figures["checked"] == "model"


def test_a_configuration_of_another_model(tiny, tmp_path, capsys):
    """Not an object, or of other sizes than the weights: refused before anything is packed. So is a file as --out."""
    source = shutil.copytree(tiny, tmp_path / "m")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "intermediate_size": 96}))
    assert "config.json makes it [64, 96]" in refused(source, tmp_path / "out", capsys)
    (source / "config.json").write_text("[]")
    assert "holds a list, not an object" in refused(source, tmp_path / "out", capsys)
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("x")
    assert "Not a directory" in refused(tiny, tmp_path / "file", capsys)


def test_only_the_files_that_the_index_names(tiny, tmp_path, capsys):
    """A second copy of the weights beside the shards is not the model's; a shard that is missing is named."""
    source = tmp_path / "m"
    transformers.AutoModelForCausalLM.from_pretrained(tiny).save_pretrained(source, max_shard_size="150KB")
    tiny_tokenizer().save_pretrained(source)
    shutil.copyfile(tiny / "model.safetensors", source / "consolidated.safetensors")
    paths = source_shards(source)
    assert len(paths) > 1
    assert all(path.name.startswith("model-") for path in paths)
    assert (
        compressed(source, tmp_path / "out", capsys)["weights"] == compressed(tiny, tmp_path / "1", capsys)["weights"]
    )
    assert not (tmp_path / "out" / "consolidated.safetensors").exists()
    paths[-1].unlink()
    assert f"has no '{paths[-1].name}', which its index names" in refused(source, tmp_path / "2", capsys)
    (source / INDEX).write_text("[]")
    with pytest.raises(BadInput, match="has no weight_map"):
        source_shards(source)


def test_a_model_changed_in_its_last_weight_is_another_model(tiny, tmp_path, capsys):
    """A finished folder answers for the very weights it was made from, not for their names and sizes."""
    source = shutil.copytree(tiny, tmp_path / "m")
    compressed(source, tmp_path / "out", capsys)
    tensors = load_file(source / "model.safetensors")
    tensors["model.norm.weight"][-1] += 1
    save_file(tensors, source / "model.safetensors", {"format": "pt"})
    assert "holds a model compressed otherwise (source: " in refused(source, tmp_path / "out", capsys, "--bits", "8")
