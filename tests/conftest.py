"""One thread per process (13 times faster under load), no hub, and a cache of our own for every test."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.states import pytest_addoption as pytest_addoption
from tests.states import pytest_configure as pytest_configure
from tests.states import pytest_runtest_setup as pytest_runtest_setup

# How long a draw takes says something of the machine's load, nothing of the property.
settings.register_profile("backcast", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("backcast")

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def _session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(_session_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests never write into the user's cache; it only holds the bundled model (fixture ``smollm2``)."""
    monkeypatch.setenv("BACKCAST_CACHE", str(_session_cache))


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random Llama of 107,000 parameters with a tokenizer and a chat template."""
    from backcast.lm.tiny import make_tiny_llama

    return make_tiny_llama(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def smollm2(_session_cache: Path) -> Path:
    """The folder of the bundled real model; for tests marked ``model``, which may then say ``smollm2`` as a user does.

    It is fetched into the user's cache, once for all runs of the tests, and linked from the tests' own.
    """
    from backcast.lm.models import resolve

    folder = resolve("smollm2")
    linked = _session_cache / "models" / folder.name
    linked.parent.mkdir(parents=True, exist_ok=True)
    linked.symlink_to(folder)
    return linked


@pytest.fixture(scope="session")
def small_llama(tmp_path_factory) -> Path:
    from backcast.lm.tiny import make_tiny_llama

    return make_tiny_llama(tmp_path_factory.mktemp("models") / "small", hidden=32, layers=1, vocabulary=300)


@pytest.fixture
def make_trainer(small_llama, tmp_path):
    """Makes a trainer, ``make_trainer(reward, parts={...}, **GRPOConfig values)``, on six prompts."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from backcast.learn.trainer import GroupTrainer, GRPOConfig

    def build(
        reward=share_of_vowels, rows=PROMPTS, trainer=GroupTrainer, folder="out", parts=None, model=None, **values
    ):
        settings = {
            "output_dir": str(tmp_path / folder),
            "per_device_train_batch_size": 8,
            "num_generations": 4,
            "max_completion_length": 8,
            "max_steps": 3,
            "learning_rate": 1e-2,
            "report_to": "none",
            "save_strategy": "no",
            "logging_steps": 1,
            "use_cpu": True,
            "bf16": False,
            "disable_tqdm": True,
            "activation_checkpointing": False,
            "seed": 7,
        }
        return trainer(
            model or AutoModelForCausalLM.from_pretrained(small_llama),
            reward,
            args=GRPOConfig(**{**settings, **values}),
            train_dataset=Dataset.from_list([dict(row) for row in rows]),
            processing_class=AutoTokenizer.from_pretrained(small_llama),
            **(parts or {}),
        )

    return build


PROMPTS = [{"prompt": f"Count {i}: ", "answer": str(i)} for i in range(6)]


def share_of_vowels(completions, **_):
    """Differs within every group of a random model."""
    return [sum(char in "aeiou" for char in text) / max(len(text), 1) for text in completions]
