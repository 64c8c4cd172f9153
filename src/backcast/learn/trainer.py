"""GroupTrainer: TRL's GRPOTrainer with credit, replay and rethinking as parts. The only door to TRL's RL.

Tested with TRL 1.16. Seven methods are overridden, each for what TRL has no hook for: ``_tokenize_prompts`` (images
as tensors), ``_generate`` (rethinking comes before rewards), ``_calculate_rewards`` (rewards are remembered),
``_generate_and_score_completions`` (parts act on the finished batch), ``_get_per_token_logps_and_entropies`` and
``_compute_loss`` (imitation, true ratios), and ``_load_optimizer_and_scheduler`` (the parts' state comes back before
the first batch). The rest goes through callbacks (``learn.keeper``). Without parts every one of these is TRL's own,
bit for bit.
"""

import contextlib
import functools
import inspect
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.grpo_config import GRPOConfig as GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import split_pixel_values_by_grid, unsplit_pixel_values_by_grid

from backcast.core.credit import Batch, Convention, Shaper
from backcast.core.errors import BadInput, WorkFailed
from backcast.core.vitals import PATIENCE, Vital, must_act
from backcast.learn.groups import GroupSums, flat_groups, scored_advantages
from backcast.learn.keeper import Keeper, restore
from backcast.learn.rethink import ForcedRethink
from backcast.learn.stitch import rethink_round

_Trl: Any = GRPOTrainer  # upstream's methods are partly untyped

_SCORING = (
    "num_images",
    "num_tiles",
    "pixel_values",
    "image_grid_thw",
    "pixel_attention_mask",
    "spatial_shapes",
    "image_sizes",
    "token_type_ids",
    "mm_token_type_ids",
    "image_position_ids",
)


class GroupTrainer(_Trl):  # type: ignore[misc]
    """A GRPOTrainer that takes ``shapers``, which act on each finished batch in their order, and ``rethink``.

    ``advantage`` names a convention of ``core.credit``; None leaves TRL's own (``scale_rewards``). Groups whose rewards
    are all equal get exact zeros as soon as there is a part. A reward with ``vitals``, ``state_dict`` and
    ``load_state_dict`` is saved with each checkpoint, as the parts are. Everything else is passed to TRL.

    Raises BadInput for parts that do not go together, for a data set too small for one step, and while training for
    rewards of the wrong number or that are no finite numbers (None stays TRL's "cannot be scored"). Raises InertMethod
    when a part has used none of ``PATIENCE`` opportunities, or none at all by the end of training.
    """

    def __init__(
        self,
        model: Any,
        reward_funcs: Any = None,
        *,
        shapers: Sequence[Shaper] = (),
        rethink: ForcedRethink | None = None,
        advantage: Convention | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(shapers, list | tuple):
            raise BadInput(f"shapers must be a list, found {type(shapers).__name__}; write shapers=[...]")
        if (shapers or rethink) and getattr(kwargs.get("args"), "use_liger_kernel", False):
            raise BadInput("use_liger_kernel computes the loss where no part can act; switch it off, or take them away")
        checked = [_checked(reward) for reward in reward_funcs] if isinstance(reward_funcs, list) else None
        super().__init__(model, checked or _checked(reward_funcs), **kwargs)
        self.shapers, self.rethink, self.advantage = list(shapers), rethink, advantage
        if self._is_vlm and self._tokenizer.padding_side != "left":
            raise BadInput(
                "the processor pads on the right, but TRL pads prompts on the left, so token kinds would shift by the "
                'padding; set processor.tokenizer.padding_side = "left"'
            )
        if rethink:
            processes = self.accelerator.num_processes
            check_groups(self.args.generation_batch_size // processes, self.num_generations, processes)
        self.parts: list[Any] = [*self.shapers, *([rethink] if rethink else [])]
        given = reward_funcs if isinstance(reward_funcs, list) else [reward_funcs]
        self.counting: list[Any] = [reward for reward in given if hasattr(reward, "vitals")]
        _check_order(self.shapers)
        for part in self.parts:
            part.attach(self._tokenizer, self.accelerator.process_index)
        self.group_sums = GroupSums()
        self._rows: list[dict[str, Any]] = []
        self._rewards = self._scored = torch.empty(0)
        self.skips: list[bool] = []
        self.add_callback(Keeper(self))

    # ------------------------------------------------------------------ a batch, from prompts to advantages

    def _tokenize_prompts(self, prompts: Any) -> Any:
        """TRL's, with images as tensors; they are lists of arrays where the processor was asked for none.

        Where every call of a turn fails, no tool brings an image, and TRL splits these by tensor methods.
        """
        ids, images, fields = super()._tokenize_prompts(prompts)
        arrays = {key: value for key, value in fields.items() if len(value) and isinstance(value[0], np.ndarray)}
        return ids, images, {**fields, **{key: torch.from_numpy(np.array(value)) for key, value in arrays.items()}}

    def _generate(self, prompts: list[Any]) -> Any:
        generated = super()._generate(prompts)
        if self.rethink is None or not self.model.training:
            return generated
        return rethink_round(self, self.rethink, prompts, generated)

    def judge(self, prompts: Sequence[Any], completions: Sequence[Any], ids: Any) -> list[bool]:
        """Which of this process's answers are right: by ``rethink.correct``, else by the first reward, above 0."""
        own = None if self.rethink is None else self.rethink.correct
        reward = own or self.reward_funcs[0]
        if isinstance(reward, torch.nn.Module) or inspect.iscoroutinefunction(reward):
            raise BadInput("rethinking must know what is right: put a plain reward function first, or give 'correct'")
        columns = {key: [row[key] for row in self._rows] for key in self._rows[0] if key != "prompt"}
        tools = {"trainer_state": self.state, "log_extra": _ignore, "log_metric": _ignore}
        scores = reward(prompts=prompts, completions=completions, completion_ids=ids, **columns, **tools)
        return [score is not None and score > 0 for score in scores]

    def go_on(
        self, prompts: list[Any], prefixes: list[list[int]], fallback: Any, temperature: float, longest: int
    ) -> tuple[list[list[int]], Any]:
        """What the policy writes behind each prefix (token ids that begin with the prompt's), and its sampling
        log-probabilities if vLLM gave any. All processes must call it; one without prefixes generates for ``fallback``
        and throws that away.
        """
        counts = self.accelerator.gather(torch.tensor([len(prefixes)], device=self.accelerator.device))
        if int(counts.sum()) == 0:
            return [], None
        asked, starts = (prompts, prefixes) if prefixes else ([fallback[0]], [fallback[1]])
        ids, images, fields = self._tokenize_prompts(asked)
        for values in fields.values():
            if isinstance(values, list) and values and isinstance(values[0], list):  # one value a token
                for value, own, start in zip(values, ids, starts, strict=True):
                    value.extend([0] * (len(start) - len(own)))
        with _sampling(self, temperature, longest):
            found, logprobs = self._generate_single_turn(starts, images, fields, 1)
        return (found, logprobs) if prefixes else ([], None)

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> torch.Tensor:
        scores: torch.Tensor = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self._scored = scores
        self._rewards = (scores * self.reward_weights.to(scores.device)).nansum(dim=1)
        self._rewards[torch.isnan(scores).all(dim=1)] = torch.nan  # not to be scored, as TRL has it
        return scores

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._rows = inputs
        data: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if not self.model.training:
            return data
        self._count_groups()
        if not self.parts and self.advantage is None:
            return data
        check_sync(self.use_vllm, getattr(self, "_last_loaded_step", None), self.state.global_step)
        data["advantages"] = self._advantages(data["advantages"])
        batch = self._batch(data)
        if self.rethink is not None:
            batch = self.rethink.flag(batch)
        for shaper in self.shapers:
            shaper.observe(batch)
        for shaper in self.shapers:
            batch = shaper(batch)
        self._watch()
        return self._finish(batch.data)

    def _advantages(self, found: torch.Tensor) -> torch.Tensor:
        """This process's advantages: by our convention if one is named, and exact zeros for flat groups."""
        grouped = self._rewards.view(-1, self.num_generations)
        if self.advantage is not None:
            eps = 1e-4 if self.advantage.startswith("std") else 0.0
            mine = scored_advantages(grouped, self.advantage, eps)
        flat = flat_groups(grouped).repeat_interleave(self.num_generations)
        start = self.accelerator.process_index * len(found)
        own = slice(start, start + len(found))
        found = found if self.advantage is None else mine.reshape(-1)[own]
        return torch.where(flat[own].to(found.device), torch.zeros_like(found), found)

    def _batch(self, data: dict[str, Any]) -> Batch:
        behaviour = any(part.replays for part in self.parts) and "old_per_token_logps" not in data
        entropies = None
        wanted = any(part.entropies for part in self.parts)
        if behaviour or wanted:
            logps, entropies = self._behaviour(data, wanted)
            data.setdefault("old_per_token_logps", logps)
        rows = len(data["advantages"])
        data["replayed"] = torch.zeros(rows, dtype=torch.bool, device=data["advantages"].device)
        start = self.accelerator.process_index * rows
        return Batch(
            data=split_pixel_values_by_grid(data),
            rewards=self._rewards[start : start + rows],
            step=self.state.global_step,
            group=self.num_generations,
            pad_id=self._tokenizer.pad_token_id,
            entropies=entropies,
        )

    def _behaviour(self, data: dict[str, Any], entropies: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Log-probabilities (B, T) of the rows under the policy that wrote them, in chunks of the training batch size.

        With aligned steps TRL leaves them out and takes the current policy's, which makes every replayed row look as if
        it had just been written.
        """
        with torch.no_grad(), disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs):
            logps, entropy, _ = self._get_per_token_logps_and_entropies(
                self.model,
                torch.cat([data["prompt_ids"], data["completion_ids"]], dim=1),
                torch.cat([data["prompt_mask"], data["completion_mask"]], dim=1),
                data["completion_ids"].size(1),
                batch_size=self.args.per_device_train_batch_size,
                compute_entropy=entropies,
                **{key: data[key] for key in _SCORING if key in data},
            )
        return logps, entropy

    def _finish(self, shaped: Any) -> dict[str, Any]:
        data: dict[str, Any] = unsplit_pixel_values_by_grid(dict(shaped))
        mask = data["completion_mask"]
        if "tool_mask" in data:
            mask = mask * data["tool_mask"]
        data["num_items_in_batch"] = self.accelerator.gather(mask.sum()).sum()
        empty = torch.tensor(bool("skip" in data and data["skip"].all()), device=mask.device)
        everywhere = bool(self.accelerator.gather(empty.reshape(1)).all())
        data["skip"] = torch.full((len(mask),), everywhere, dtype=torch.bool, device=mask.device)
        return data

    # ------------------------------------------------------------------ the loss

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        found = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        self._logps = found[0] if self.parts and torch.is_grad_enabled() else None
        return found

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        loss: torch.Tensor = super()._compute_loss(model, inputs)
        if not self.parts or self._logps is None:
            return loss
        logps, self._logps = self._logps, None
        self.skips.append(bool(inputs["skip"].all()))
        self._log_ratios(logps.detach(), inputs)
        if self.rethink is not None and self.rethink.imitate > 0:
            term = self.rethink.imitation(logps, inputs)
            self._metrics["train"]["rethink/imitation"].append(term.item())
            loss = loss + term / self.current_gradient_accumulation_steps
        return loss

    def _log_ratios(self, logps: torch.Tensor, inputs: dict[str, Any]) -> None:
        mask = inputs["completion_mask"].bool() & inputs["replayed"][:, None]
        if "old_per_token_logps" in inputs and bool(mask.any()):
            ratio = (logps - inputs["old_per_token_logps"]).exp()[mask]
            self.group_sums.ratio(ratio)
            self._metrics["train"]["replay/ratio_mean"].append(ratio.mean().item())
            self._metrics["train"]["replay/ratio_max"].append(ratio.max().item())

    # ------------------------------------------------------------------ vital signs

    def _count_groups(self) -> None:
        """Groups before any part acts; "right" is a first reward above zero."""
        shares = self.group_sums.add(self._rewards, self._scored[:, 0], self.num_generations)
        for name, value in shares.items():
            self._metrics["train"][name].append(value)

    def _watch(self) -> None:
        for part in self.parts:
            for name, value in part.metrics().items():
                self._metrics["train"][name].append(value)
            acted, chances = self.everywhere(part)
            if chances >= PATIENCE:
                must_act(part.name, acted, chances)

    def everywhere(self, part: Any) -> tuple[int, int]:
        """Batches that a part changed and could have changed, summed over processes; all processes must ask."""
        counts = torch.tensor([[part.acted, part.opportunities]], device=self.accelerator.device)
        acted, chances = self.accelerator.gather(counts).sum(0).tolist()
        return acted, chances

    def vitals(self) -> list[Vital]:
        """Vital signs of the groups, the parts and counting rewards, over the whole training (of this process)."""
        replay = [shaper for shaper in self.shapers if shaper.replays]
        aged = any(getattr(shaper, "aged", True) for shaper in replay)
        counted = [*self.parts, *self.counting]
        return [*self.group_sums.vitals(bool(replay), aged), *(vital for part in counted for vital in part.vitals())]

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            restore(self, checkpoint)


def _ignore(*_: Any) -> None:
    """Metrics of a reward that is asked for its judgement only."""


@contextlib.contextmanager
def _sampling(trainer: Any, temperature: float, longest: int) -> Iterator[None]:
    """Other sampling settings for one generation, for transformers and for vLLM alike."""
    if trainer.use_vllm:
        owner, names = trainer.vllm_generation, ("temperature", "max_completion_length")
    else:
        owner, names = trainer.generation_config, ("temperature", "max_new_tokens")
    kept = {name: getattr(owner, name) for name in names}
    try:
        for name, value in zip(names, (temperature, longest), strict=True):
            setattr(owner, name, value)
        yield
    finally:
        for name, value in kept.items():
            setattr(owner, name, value)


def check_groups(rows: int, group: int, processes: int) -> None:
    """Raises BadInput where a process would see part of a group only: the quota of second looks is kept per group."""
    if processes > 1 and rows % group:
        raise BadInput(
            f"rethinking needs whole groups on each process, found {rows} answers a process in groups of {group}; "
            "make per_device_train_batch_size x steps_per_generation a multiple of num_generations"
        )


def check_sync(use_vllm: bool, loaded: int | None, step: int) -> None:
    """Raises WorkFailed when vLLM generated with weights of another step than the policy's: parts would lie then."""
    if use_vllm and loaded is not None and loaded != step:
        raise WorkFailed(
            f"vLLM holds the weights of step {loaded}, the policy is at step {step}; restart the server, or train "
            "without replay and rethinking"
        )


def _check_order(shapers: Sequence[Shaper]) -> None:
    seen: Shaper | None = None
    for shaper in shapers:
        if shaper.replays and seen is not None:
            raise BadInput(f"'{shaper.name}' replays rows and must stand before '{seen.name}' in shapers")
        seen = seen or (None if shaper.replays else shaper)


def _checked(reward: Any) -> Any:
    """The reward function, which now answers what is no list of numbers with BadInput; models are left alone."""
    if not callable(reward) or isinstance(reward, torch.nn.Module):
        return reward
    name = getattr(reward, "__name__", type(reward).__name__)
    call: Any
    if inspect.iscoroutinefunction(reward):

        @functools.wraps(reward)
        async def call(*args: Any, **kwargs: Any) -> list[float | None]:
            return _numbers(name, await reward(*args, **kwargs), len(kwargs["completions"]))

    else:

        @functools.wraps(reward)
        def call(*args: Any, **kwargs: Any) -> list[float | None]:
            return _numbers(name, reward(*args, **kwargs), len(kwargs["completions"]))

    call.__name__ = name
    return call


def _numbers(name: str, found: Any, asked: int) -> list[float | None]:
    if not isinstance(found, Iterable) or isinstance(found, str | bytes):
        raise BadInput(f"reward '{name}' returned {found!r}; return a list with one number for each completion")
    values = list(found)
    if len(values) != asked:
        raise BadInput(f"reward '{name}' returned {len(values)} values for {asked} completions; return one for each")
    wrong = next((value for value in values if not (value is None or _finite(value))), None)
    if wrong is not None:
        raise BadInput(f"reward '{name}' returned {wrong!r}; return a number, or None for what cannot be scored")
    return values


def _finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except TypeError:
        return False
