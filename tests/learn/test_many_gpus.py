"""The launch configurations of the how-to page: accelerate reads them, and asks of the processes what the page says."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "many-gpus.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="no docs beside the tests")


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("several.yaml", {}),
        ("fsdp.yaml", {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT"}),
        ("zero3.yaml", {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}),
    ],
)
def test_accelerate_reads_a_configuration(tmp_path, name, asked, monkeypatch):
    """As ``accelerate launch --config_file`` would: unknown keys are its errors, and the environment that it would give
    to eight processes holds what was asked."""
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

    text = re.search(rf"<!-- test: file {name} -->\n```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    path = tmp_path / name
    path.write_text(text)
    config = load_config_from_file(str(path))
    assert config.num_processes == 8
    words = ["--config_file", str(path), "-m", "backcast"]
    args, defaults, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    if name == "zero3.yaml":
        args.deepspeed_fields_from_accelerate_config = ",".join(defaults.deepspeed_config)  # as the command does
        _, env = prepare_deepspeed_cmd_env(args)
    else:
        env = prepare_multi_gpu_env(args)
    assert env["ACCELERATE_MIXED_PRECISION"] == "bf16"
    assert {key: env.get(key) for key in asked} == asked


@pytest.mark.parametrize("name", ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"])
def test_a_run_refuses_a_model_cut_up(monkeypatch, name):
    """Before any process waits for another: what the first one saved would be a share."""
    from backcast.core.errors import BadInput
    from backcast.learn import ranks

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv(name, "true")
    with pytest.raises(BadInput, match="cuts a model up"), ranks.led():
        pass
