"""transformers loads packed folders after one import, and says which one without it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import backcast.compress
from backcast.compress.packed import PackedLinear
from backcast.compress.reload import plain_route
from backcast.compress.stream import Job, encode, pack_model
from backcast.compress.wgm import preset
from backcast.core.errors import BadInput


@pytest.fixture(scope="module")
def packed(tiny, tmp_path_factory):
    job = Job(tiny, tmp_path_factory.mktemp("packed") / "out", preset("ours", 4))
    pack_model(job)
    return job


def load(folder, **options):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, **{"dtype": torch.float32, **options}).eval()


def simulated(job):
    """The dense model whose linear weights were put through the encoder: what the packed one must equal."""
    from backcast.compress.layout import decode

    model = load(job.source)
    for name, module in model.named_modules():
        if type(module) is torch.nn.Linear and name != "lm_head":
            stored = decode(encode(module.weight.detach().numpy(), job.settings, name))
            module.weight.data = torch.from_numpy(stored)
    return model


def run(script: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(Path(backcast.compress.__file__).parents[2])}
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=300, check=False
    )


@pytest.mark.method(7, 8, proves="answers as its decoded weights do")
def test_logits_and_generation_equal_the_simulated_model(packed):
    """Reloaded logits equal those of the dense model with the same numbers to 1e-5; 20 greedy tokens are the same."""
    model, twin = load(packed.out), simulated(packed)
    assert sum(isinstance(module, PackedLinear) for module in model.modules()) == 14
    ids = torch.arange(3, 35).view(2, 16)
    with torch.no_grad():
        expected = twin(ids).logits
        scale = float(expected.abs().max())
        torch.testing.assert_close(model(ids).logits / scale, expected / scale, rtol=1e-5, atol=1e-5)
        with plain_route(model):
            torch.testing.assert_close(model(ids).logits / scale, expected / scale, rtol=1e-5, atol=1e-5)
        made = [m.generate(ids[:1], max_new_tokens=20, do_sample=False, pad_token_id=0) for m in (model, twin)]
    assert torch.equal(*made)


def test_memory_holds_packed_weights_only(packed):
    """The packed layers of a loaded model take the bytes of their formula, a third of what float32 took."""
    layers = [module for module in load(packed.out).modules() if isinstance(module, PackedLinear)]
    held = sum(t.numel() * t.element_size() for layer in layers for t in [*layer.parameters(), *layer.buffers()])
    assert held == sum(layer.layout.bytes() for layer in layers)
    assert held < sum(layer.layout.weights for layer in layers) * 4 / 3


def test_bfloat16_and_the_bare_model(packed):
    """Loading in bf16 leaves the stored numbers alone; AutoModel, which has no prefix, finds its layers too."""
    from transformers import AutoModel

    wide, narrow = load(packed.out), load(packed.out, dtype=torch.bfloat16)
    for a, b in zip(wide.modules(), narrow.modules(), strict=True):
        if isinstance(a, PackedLinear):
            assert all(torch.equal(x, y) for x, y in zip(a.stored().values(), b.stored().values(), strict=True))
    ids = torch.arange(3, 19).view(1, 16)
    bare = AutoModel.from_pretrained(packed.out, dtype=torch.float32).eval()
    with torch.no_grad():
        torch.testing.assert_close(bare(ids).last_hidden_state, wide.model(ids).last_hidden_state)
        assert narrow(ids).logits.dtype == torch.bfloat16


def test_adapters_train_on_top_and_the_base_stays(packed):
    """LoRA on packed layers: its loss falls, the packed tensors do not change."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    model = get_peft_model(load(packed.out), LoraConfig(target_modules=["q_proj", "up_proj"], r=4))
    before = {name: value.clone() for name, value in model.state_dict().items() if "lora" not in name}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert trained
    optimiser = torch.optim.Adam(trained, lr=1e-2)
    ids = torch.arange(3, 35).view(2, 16)
    losses = []
    for _ in range(8):
        loss = model(ids, labels=ids).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_saving_a_loaded_model_keeps_it_packed(packed, tmp_path):
    """save_pretrained of a packed model writes packed tensors that load to the same logits."""
    model = load(packed.out)
    model.save_pretrained(tmp_path / "again")
    ids = torch.arange(3, 19).view(1, 16)
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "again")(ids).logits, model(ids).logits)


def test_without_the_import_the_error_names_it(packed, tmp_path):
    """Plain transformers refuses the folder, quoting the missing line; after the line it loads. A re-saved one, too."""
    load(packed.out).save_pretrained(tmp_path / "again")
    said = run(
        "from transformers import AutoModelForCausalLM as M\n"
        f"for folder in ({str(packed.out)!r}, {str(tmp_path / 'again')!r}):\n"
        "    try:\n        M.from_pretrained(folder)\n"
        "    except Exception as error:\n        print(type(error).__name__, error)\n"
        "    else:\n        print('LOADED')\n"
        "import backcast.compress\n"
        f"print(type(M.from_pretrained({str(packed.out)!r}).model.layers[0].mlp.up_proj).__name__)\n"
    )
    assert said.returncode == 0, said.stderr
    assert "import backcast.compress" in said.stdout
    assert "LOADED" not in said.stdout
    assert said.stdout.splitlines()[-1] == "PackedLinear"


def test_the_import_alone_loads_neither_torch_nor_transformers(packed):
    """``import backcast.compress`` comes first and is cheap; transformers, imported later, knows the quantizer."""
    said = run(
        "import sys, backcast.compress\n"
        "assert not {'torch', 'transformers', 'numba'} & set(sys.modules), 'heavy'\n"
        "from transformers import AutoModelForCausalLM as M\n"
        f"print(type(M.from_pretrained({str(packed.out)!r}).model.layers[0].mlp.up_proj).__name__)\n"
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip() == "PackedLinear"


def test_another_stored_version_is_refused_by_name():
    """A folder of a later form says so instead of loading wrong numbers."""
    from backcast.compress.hf import PackedConfig

    with pytest.raises(BadInput, match="packed in form 99"):
        PackedConfig(layers={}, version=99)
