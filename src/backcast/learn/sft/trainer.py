"""The one place that knows TRL's SFTTrainer: how it is set up, measured on held-out rows, and resumed."""

import contextlib
import json
import logging
import math
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
from accelerate.utils import broadcast, gather_object
from peft import LoraConfig
from transformers import AutoConfig, AutoModelForCausalLM, PrinterCallback, ProgressCallback, TrainerCallback
from transformers.utils import logging as transformers_logging
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from backcast.core.errors import BadInput
from backcast.core.progress import Progress
from backcast.learn import ranks
from backcast.learn.sft.rows import as_prompt_completion
from backcast.learn.sft.settings import SFTSettings
from backcast.lm.base import Message

HELD_OUT = "held_out_nll"
"""What a measurement on the held-out rows is called in the trainer's log."""


def make_trainer(
    train: Sequence[Sequence[Message]],
    held_out: Sequence[Sequence[Message]],
    folder: Path,
    tokenizer: Any,
    settings: SFTSettings,
    checkpoints: Path,
) -> Any:
    """TRL's SFTTrainer on the model in ``folder``, its data tokenised, masked and cut.

    Raises BadInput if not one row has anything left to learn after the cut, and for a device that is not there.
    """
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise BadInput("device 'cuda': this machine shows no GPU to PyTorch; use device 'auto' or 'cpu'")
    weights = torch.bfloat16 if settings.dtype == "bfloat16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=weights, trust_remote_code=False)
    trainer: Any = SFTTrainer(
        model=model,
        args=_config(settings, checkpoints, len(train)),
        train_dataset=_dataset(train),
        eval_dataset=_dataset(held_out) if held_out else None,
        processing_class=tokenizer,
        peft_config=_lora(settings, model) if settings.method == "lora" else None,
    )
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    if not len(trainer.train_dataset):
        raise BadInput(
            f"every row's prompt fills max_length ({settings.max_length} tokens), so nothing is left to learn; raise it"
        )
    return trainer


def masked_trainer(
    model: Any,
    processor: Any,
    rows: int,
    collate: Callable[[Sequence[int]], Mapping[str, torch.Tensor]],
    settings: SFTSettings,
    checkpoints: Path,
) -> Any:
    """TRL's SFTTrainer on ``rows`` conversations that are tokenised and labelled elsewhere.

    For conversations with pictures, of which several turns are learnt: ``collate`` gets numbers of rows and returns the
    model's inputs with ``labels`` (-100 for what is not learnt). The loss is the mean over a batch's learnt tokens.
    """
    config = _config(settings, checkpoints, rows)
    config.dataset_kwargs = {"skip_prepare_dataset": True}
    config.remove_unused_columns = False
    trainer: Any = SFTTrainer(
        model=model,
        args=config,
        train_dataset=datasets.Dataset.from_list([{"row": number} for number in range(rows)]),
        processing_class=processor,
        data_collator=lambda batch: dict(collate([entry["row"] for entry in batch])),
        peft_config=_lora(settings, model) if settings.method == "lora" else None,
    )
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    return trainer


def _dataset(conversations: Sequence[Sequence[Message]]) -> datasets.Dataset:
    return datasets.Dataset.from_list([as_prompt_completion(turns) for turns in conversations])


def _config(settings: SFTSettings, checkpoints: Path, rows: int) -> SFTConfig:
    on_cpu = settings.device == "cpu" or not torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(checkpoints),
        completion_only_loss=True,
        max_length=settings.max_length,
        learning_rate=settings.learning_rate,
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.device_batch,
        # One row at a time, so that the loss of a batch is the mean over the tokens of one row.
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=_accumulated(settings),
        lr_scheduler_type=settings.schedule,
        warmup_steps=int(settings.warmup * steps(settings, rows)),
        weight_decay=settings.weight_decay,
        logging_steps=max(1, steps(settings, rows) // 200),
        # Checkpoints and measurements are asked for by ``_Watch``: by time, and at steps that a resumed run shares.
        save_strategy="no",
        eval_strategy="no",
        save_total_limit=2,
        report_to=list(settings.report_to) or "none",
        gradient_checkpointing=settings.gradient_checkpointing,
        bf16=settings.dtype == "auto" and not on_cpu,
        use_cpu=on_cpu,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=not on_cpu,
        seed=settings.seed,
        data_seed=settings.seed,
        disable_tqdm=True,
    )


def _lora(settings: SFTSettings, model: Any) -> LoraConfig:
    last, depth = settings.lora_layers, model.config.num_hidden_layers
    if last is not None and last > depth:
        raise BadInput(f"lora_layers {last}: the model has {depth} layers; name at most that many, or leave it out")
    linear = {name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)}
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        # PEFT knows "all-linear" only where all layers are adapted.
        target_modules="all-linear" if last is None else sorted({n.rsplit(".")[-1] for n in linear} - {"lm_head"}),
        layers_to_transform=None if last is None else list(range(depth - last, depth)),
    )


def _accumulated(settings: SFTSettings) -> int:
    """Backward passes of each process for one optimiser step; BadInput when the batch cannot be shared out."""
    if settings.batch % (settings.device_batch * ranks.processes()):
        raise BadInput(
            f"batch {settings.batch} cannot be shared out to {ranks.processes()} processes of device_batch "
            f"{settings.device_batch}; make it a multiple of {settings.device_batch * ranks.processes()}"
        )
    return settings.batch // settings.device_batch // ranks.processes()


def epoch_steps(settings: SFTSettings, rows: int) -> int:
    """Optimiser steps of one epoch."""
    passes = math.ceil(rows / (settings.device_batch * ranks.processes()))
    return math.ceil(passes / _accumulated(settings))


def steps(settings: SFTSettings, rows: int) -> int:
    """Optimiser steps of the whole training."""
    return math.ceil(settings.epochs * epoch_steps(settings, rows))


def held_out_nll(trainer: Any) -> list[float]:
    """Mean negative log-probability of each held-out row's assistant tokens, nats per token; in the rows' order.

    Their mean goes into the trainer's log as ``HELD_OUT``. Empty without held-out rows.
    """
    if trainer.eval_dataset is None:
        return []
    model = trainer.model
    was_training = model.training
    model.eval()
    found = []
    for batch in trainer.get_eval_dataloader():
        loss, _, _ = trainer.prediction_step(model, batch, prediction_loss_only=True)
        found.append(float(loss))
    # Row i is with process i modulo their number, and the last rows may be there twice.
    parts = gather_object([found])
    found = [part[i] for i in range(len(found)) for part in parts][: len(trainer.eval_dataset)]
    trainer.log({HELD_OUT: sum(found) / len(found)})  # in eval mode, where TRL keeps its own figures apart
    model.train(was_training)
    return found


def fit(trainer: Any, settings: SFTSettings, progress: Progress) -> None:
    """Trains to the end, from the last whole checkpoint if there is one.

    The weights at the end are the same however often the training was killed on the way, on one machine and one number
    of threads: checkpoints hold optimiser, schedule, order of the rows and random state.
    """
    checkpoints = Path(trainer.args.output_dir)
    trainer.add_callback(_Watch(trainer, settings, progress))
    last = last_checkpoint(checkpoints)
    # What is drawn before this line (weights of the adapter, a first measurement) must not move the dropout of a
    # training that is started anew after a kill.
    torch.manual_seed(settings.seed)
    trainer.train(resume_from_checkpoint=str(last) if last else None)


def norms(trainer: Any) -> list[float]:
    """The norm of each tensor that is trained: equal before and after means that training did nothing."""
    return [float(weight.detach().double().norm()) for weight in trainer.model.parameters() if weight.requires_grad]


def save(trainer: Any, base: Path, folder: Path, settings: SFTSettings, name: str) -> None:
    """Writes the trained model as a plain Hugging Face folder in the precision of ``base``, an adapter merged in.

    With ``keep_adapter`` the adapter also lies in ``folder/adapter``, where ``name`` stands for the base model.
    """
    model: Any = trainer.accelerator.unwrap_model(trainer.model)
    if settings.method == "lora":
        if settings.keep_adapter:
            model.peft_config["default"].base_model_name_or_path = name
            # PEFT would otherwise ask the hub whether the base model's vocabulary was changed; it was not.
            model.save_pretrained(folder / "adapter", save_embedding_layers=False)
        model = model.merge_and_unload()
    stored = AutoConfig.from_pretrained(base, trust_remote_code=False).dtype
    model.to(stored or torch.float32).save_pretrained(folder)
    for weights in folder.rglob("*.safetensors"):
        weights.chmod(0o644)  # safetensors makes them unreadable for everybody else


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in ``folder``; torn ones, left by a kill while saving, are deleted.

    The trainer writes ``trainer_state.json`` last, so a checkpoint with a readable one is whole.
    """
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]), reverse=True)
    for path in found:
        try:
            json.loads((path / "trainer_state.json").read_text())
        except (OSError, ValueError):
            if ranks.first():
                shutil.rmtree(path)
        else:
            return path
    return None


class _Watch(TrainerCallback):
    """Progress, checkpoints by the clock, and measurements on the held-out rows at fixed steps."""

    def __init__(self, trainer: Any, settings: SFTSettings, progress: Progress) -> None:
        self.trainer, self.progress = trainer, progress
        self.save_seconds = settings.save_seconds
        self.every = settings.eval_steps or epoch_steps(settings, len(trainer.train_dataset))
        self.saved = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self.progress.total = state.max_steps
        self.progress.advance(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        last = state.global_step >= state.max_steps
        if not last and state.global_step % self.every == 0:
            wanted = control.should_log
            held_out_nll(self.trainer)
            control.should_log = wanted  # logging the measurement has withdrawn it
        if not last and self._due():
            control.should_save = True
            self.saved = time.monotonic()
        self.progress.advance()

    def _due(self) -> bool:
        """Whether it is time for a checkpoint, by the clock of the first process: all have to save at once."""
        due = torch.tensor([time.monotonic() - self.saved >= self.save_seconds], dtype=torch.int32)
        return bool(broadcast(due.to(self.trainer.accelerator.device)))

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        if "loss" in kwargs["logs"]:
            self.progress.advance(0, loss=f"{kwargs['logs']['loss']:.3f}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences the bars and notes of transformers, datasets and TRL; progress is ours (``core.progress``)."""
    bars: Any = transformers_logging  # untyped upstream
    logs = [logging.getLogger(name) for name in ("transformers", "datasets", "trl", "accelerate", "peft")]
    levels = [log.level for log in logs]
    shown = (bars.is_progress_bar_enabled(), not datasets.are_progress_bars_disabled())
    for log in logs:
        log.setLevel(logging.ERROR)
    bars.disable_progress_bar()
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of TRL's own settings, which no user of ours can change
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
        if shown[0]:
            bars.enable_progress_bar()
        if shown[1]:
            datasets.enable_progress_bars()
