"""The rethinking round inside the trainer: ask for second looks, judge them, put the accepted ones into their slots."""

from collections.abc import Sequence
from typing import Any

from backcast.core.errors import BadInput
from backcast.learn.rethink import Attempt, ForcedRethink, Second, waits


def rethink_round(trainer: Any, rethink: ForcedRethink, prompts: list[Any], generated: Any) -> Any:
    """TRL's generation result with accepted second looks in the slots of the answers they came from.

    Everything is matched by slot number, never by order of acceptance. Reward functions see a column ``forced``.
    """
    prompt_ids, completion_ids, tool_mask, completions, logprobs, extra, images, tool_images = generated
    if tool_mask is not None or trainer.tools:
        raise BadInput("forced rethinking does not work with tools; take the tools or rethink away")
    first = trainer.judge(prompts, completions, completion_ids)
    first_row = trainer.accelerator.process_index * len(prompts)
    groups = [(first_row + i) // trainer.num_generations for i in range(len(prompts))]
    attempts = [
        Attempt(tuple(ids), right, group, ids[-1] in trainer.eos_token_ids)
        for ids, right, group in zip(completion_ids, first, groups, strict=True)
    ]
    seconds = rethink.plan(attempts, trainer.max_completion_length)
    parts, logs = _second_parts(trainer, rethink, prompts, prompt_ids, seconds)
    stitched = list(completion_ids)
    for second, ids in zip(seconds, parts, strict=True):
        stitched[second.index] = [*second.kept, *second.trigger, *ids]
    tentative = _texts(trainer, completions, stitched)
    judged = trainer.judge(prompts, tentative, stitched) if seconds else first
    right = [
        judged[second.index] and len(stitched[second.index]) <= trainer.max_completion_length for second in seconds
    ]
    rethink.count(attempts, [waits(_content(text)) for text in completions], seconds, right)
    accepted = rethink.accept(attempts, seconds, parts, right)
    final_ids, final, sampled = list(completion_ids), list(completions), logprobs
    mask = [[1] * len(ids) for ids in completion_ids]
    for number in accepted:
        second = seconds[number]
        slot = second.index
        final_ids[slot], final[slot] = stitched[slot], tentative[slot]
        before, middle, after = len(second.kept), len(second.trigger), len(parts[number])
        mask[slot] = [1] * before + [int(rethink.train_on_trigger)] * middle + [1] * after
        if sampled is not None:  # a trigger was never sampled; TRL reads None as "no correction here"
            sampled[slot] = [*sampled[slot][:before], *[None] * middle, *logs[number]]
    final_right = [judged[i] if i in {seconds[n].index for n in accepted} else first[i] for i in range(len(first))]
    rethink.settle(accepted, seconds, [waits(_content(text)) for text in final], final_right)
    forced = {seconds[number].index for number in accepted}
    extra = {**extra, "forced": [i in forced for i in range(len(final))]}
    return prompt_ids, final_ids, None if rethink.train_on_trigger else mask, final, sampled, extra, images, tool_images


def _second_parts(
    trainer: Any, rethink: ForcedRethink, prompts: Sequence[Any], prompt_ids: Any, seconds: Sequence[Second]
) -> tuple[list[list[int]], Any]:
    chosen = [prompts[second.index] for second in seconds]
    prefixes = [[*prompt_ids[second.index], *second.kept, *second.trigger] for second in seconds]
    longest = rethink.longest if rethink.variant == "code" else trainer.max_completion_length
    used = min((len(second.kept) + len(second.trigger) for second in seconds), default=0)
    room = max(1, min(longest, trainer.max_completion_length - used))
    fallback = (prompts[0], list(prompt_ids[0]))
    parts, logprobs = trainer.go_on(chosen, prefixes, fallback, rethink.temperature, room)
    return parts, logprobs


def _content(completion: Any) -> str:
    return completion if isinstance(completion, str) else str(completion[-1]["content"])


def _texts(trainer: Any, completions: Sequence[Any], ids: Sequence[Sequence[int]]) -> list[Any]:
    texts = trainer.processing_class.batch_decode(ids, skip_special_tokens=True)
    if isinstance(completions[0], str):
        return list(texts)
    return [[{"role": "assistant", "content": text}] for text in texts]
