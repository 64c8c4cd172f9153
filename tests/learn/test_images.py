"""Images of replayed and stitched rows, through TRL's own call path with a real (tiny) Qwen2.5-VL."""

from pathlib import Path

import pytest
import torch

from backcast.core.errors import BadInput
from backcast.learn.replay import SampleReplay
from backcast.learn.rethink import ForcedRethink
from backcast.learn.rows import size
from backcast.learn.trainer import GroupTrainer, GRPOConfig
from backcast.lm.tiny import tiny_vlm

Image = pytest.importorskip("PIL.Image")

SIZES = [[(16, 8)], [(8, 24), (16, 16)], [(8, 8)], [(32, 16)], [(16, 8)], [(24, 16), (8, 8), (16, 24)], [], []]
"""Width and height of the images of each prompt; the last two have none. TRL 1.16 cannot put a prompt without images
beside one with images in one generated batch (its processor call fails); replay can, from batches of either kind."""


def question(number):
    images = [Image.new("RGB", wide, (40 * number, 255 - 40 * n, 90 * n)) for n, wide in enumerate(SIZES[number])]
    return {"prompt": [{"role": "user", "content": f"Picture {number}: what?"}], "images": images, "number": number}


def half_flat(number, **_):
    """Every other prompt is always right; the others differ from attempt to attempt."""
    return [1.0 if which % 2 == 0 else float(i % 4 == 0) for i, which in enumerate(number)]


def make(tmp_path, reward, rows, **parts):
    from datasets import Dataset

    model, processor = tiny_vlm()
    processor.tokenizer.padding_side = parts.pop("padding", "left")
    own = ("max_steps", "max_completion_length", "num_generations")
    values = {key: parts.pop(key) for key in list(parts) if key in own}
    return GroupTrainer(
        model,
        reward,
        args=GRPOConfig(
            **{"max_steps": 4, "max_completion_length": 6, "num_generations": 4, **values},
            output_dir=str(tmp_path / "out"),
            generation_kwargs={"suppress_tokens": image_tokens(processor)},
            per_device_train_batch_size=8,
            learning_rate=3e-2,
            report_to="none",
            save_strategy="no",
            logging_steps=1,
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            activation_checkpointing=False,
            seed=7,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=processor,
        **parts,
    )


def image_tokens(processor):
    """A random model writes these now and then; a token that stands for an image without one is an error of TRL's."""
    return processor.tokenizer.convert_tokens_to_ids(["<|image_pad|>", "<|video_pad|>"])


class Watch:
    """A shaper that keeps what passes through and changes nothing."""

    name, entropies, acted, opportunities = "watch", False, 0, 0

    def __init__(self, replays=False):
        self.replays, self.batches = replays, []

    def attach(self, tokenizer, rank):
        pass

    def observe(self, batch):
        pass

    def __call__(self, batch):
        self.batches.append(batch)
        return batch

    def metrics(self):
        return {}

    def vitals(self):
        return []


def written(batch, i):
    """What row ``i`` of a batch says, without its padding."""
    data = batch.data
    prompt, answer = data["prompt_mask"][i].bool(), data["completion_mask"][i].bool()
    found = {"ids": (*data["prompt_ids"][i][prompt].tolist(), *data["completion_ids"][i][answer].tolist())}
    found["logps"] = data["old_per_token_logps"][i][answer]
    images = data.get("num_images", [0] * len(data["advantages"]))[i]
    found["images"] = images
    if images:
        found["pixels"], found["grid"] = data["pixel_values"][i], data["image_grid_thw"][i]
        found["kinds"] = data["mm_token_type_ids"][i][torch.cat([prompt, answer])]
    return found


def alone(trainer, batch, i, images_of=None):
    """Log-probabilities of row ``i``, computed without the rest of its batch, with its own images or another row's."""
    data = batch.data
    prompt = data["prompt_ids"][i][data["prompt_mask"][i].bool()]
    answer = data["completion_ids"][i][data["completion_mask"][i].bool()]
    ids = torch.cat([prompt, answer])[None]
    more = {}
    if data.get("num_images", [0] * (i + 1))[i]:
        source = i if images_of is None else images_of
        kinds = data["mm_token_type_ids"][i][torch.cat([data["prompt_mask"][i], data["completion_mask"][i]]).bool()]
        more = {"pixel_values": data["pixel_values"][source], "image_grid_thw": data["image_grid_thw"][source]}
        more |= {"num_images": [data["num_images"][i]], "mm_token_type_ids": kinds[None]}
    with torch.no_grad():
        logps, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, torch.ones_like(ids), len(answer), **more
        )
    return logps[0]


def test_replayed_rows_bring_their_images(tmp_path):
    """Pixels, grids, counts, token kinds and log-probabilities of each drawn row are those it was written with."""
    before, after = Watch(replays=True), Watch()
    replay = SampleReplay(episode=None)
    rows = [question(number) for number in range(6)]
    trainer = make(tmp_path, half_flat, rows, shapers=[before, replay, after], advantage="center", max_steps=6)
    trainer.train()
    sources = [written(raw, i) for raw in before.batches for i in range(8)]
    late, counts = 0, set()
    for raw, out in zip(before.batches, after.batches, strict=True):
        current = {written(raw, i)["ids"] for i in range(8)}
        for i in torch.nonzero(out.data["replayed"]).flatten().tolist():
            row = written(out, i)
            matches = [s for s in sources if s["ids"] == row["ids"] and torch.equal(s["logps"], row["logps"])]
            assert matches
            source = matches[0]
            assert row["images"] == source["images"] == len(SIZES[int(number_of(trainer, row["ids"]))])
            if row["images"]:
                assert torch.equal(row["pixels"], source["pixels"])
                assert torch.equal(row["grid"], source["grid"])
                assert torch.equal(row["kinds"], source["kinds"])
            late += row["ids"] not in current
            counts.add(row["images"])
    assert late > 0
    assert len(counts) > 1
    ratios = [line["replay/ratio_max"] for line in trainer.state.log_history if "replay/ratio_max" in line]
    assert max(abs(ratio - 1) for ratio in ratios) > 1e-2


def number_of(trainer, ids):
    """The prompt's number, read from its text."""
    return trainer._tokenizer.decode(ids).split("Picture ")[1].split(":")[0]


def test_a_mixed_batch_is_what_each_row_is_alone(tmp_path):
    """Rows with none to three images side by side: the loss sees each with its own images.

    One prompt a batch, so that batches without images come too; the last is flat and consists of draws alone. The
    control: with the image of another row the log-probabilities change, so the comparison can fail.
    """

    def until_the_last(number, trainer_state, **_):
        return [float(trainer_state.global_step < 7 and i % 4 == 0) for i in range(len(number))]

    rows = [question(number) for number in range(8)]
    parts = {"shapers": [SampleReplay(episode=None)], "max_steps": 8, "num_generations": 8}
    trainer = make(tmp_path, until_the_last, rows, **parts)
    trainer.train()
    (chunk,) = trainer._buffered_inputs  # what the last step trained on, as TRL shuffled and joined it
    assert bool(chunk["replayed"].all())
    assert 0 in chunk["num_images"]
    with torch.no_grad():
        together, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model,
            torch.cat([chunk["prompt_ids"], chunk["completion_ids"]], 1),
            torch.cat([chunk["prompt_mask"], chunk["completion_mask"]], 1),
            chunk["completion_ids"].shape[1],
            **{k: chunk[k] for k in ("pixel_values", "image_grid_thw", "num_images", "mm_token_type_ids")},
        )
    from trl.trainer.utils import split_pixel_values_by_grid

    from backcast.core.credit import Batch

    split = Batch(split_pixel_values_by_grid(chunk), None, 0, 4)
    assert len(set(chunk["num_images"])) > 1
    for i in range(8):
        n = int(chunk["completion_mask"][i].sum())
        torch.testing.assert_close(together[i, :n], alone(trainer, split, i), atol=2e-4, rtol=0)
    same = [(i, j) for i in range(8) for j in range(8) if grids(split, i) == grids(split, j) != []]
    other = [(i, j) for i, j in same if not torch.equal(split.data["pixel_values"][i], split.data["pixel_values"][j])]
    if not other:  # no two rows with images of one size: turn a row's own picture dark instead
        i = next(i for i in range(8) if chunk["num_images"][i])
        split.data["pixel_values"][i] = -split.data["pixel_values"][i]
        other = [(i, i)]
    i, j = other[0]
    n = int(chunk["completion_mask"][i].sum())
    assert (together[i, :n] - alone(trainer, split, i, images_of=j)).abs().max() > 1e-2


def grids(batch, i):
    return batch.data["image_grid_thw"][i].tolist() if batch.data["num_images"][i] else []


def test_images_count_against_the_memory_of_the_buffer(tmp_path):
    """A row weighs its pixels; with room for a few of them the oldest go, and what stays is within the bound."""
    roomy, tight = SampleReplay(episode=None), SampleReplay(episode=None, megabytes=0.05)
    for replay in (roomy, tight):
        trainer = make(tmp_path, half_flat, [question(number) for number in (1, 3, 5)], shapers=[replay], max_steps=4)
        trainer.train()
        pixels = [row.row["pixel_values"][0].nbytes for row in replay.buffer]
        assert all(row.bytes == size(row.row) > images for row, images in zip(replay.buffer, pixels, strict=True))
    limit = 0.05 * 2**20
    assert sum(row.bytes for row in roomy.buffer) > limit > sum(row.bytes for row in tight.buffer) > 0
    held = {row.row["pixel_values"][0].untyped_storage().data_ptr() for row in tight.buffer}
    stored = sum(row.row["pixel_values"][0].untyped_storage().nbytes() for row in tight.buffer)
    assert len(held) == len(tight.buffer)  # no row keeps another row's pixels alive
    assert stored <= limit


def test_a_processor_that_pads_on_the_right_is_refused(tmp_path):
    """TRL pads prompts on the left; token kinds padded on the right would belong to other tokens."""
    with pytest.raises(BadInput, match=r'set processor\.tokenizer\.padding_side = "left"'):
        make(tmp_path, half_flat, [question(0), question(1)], padding="right")


def test_second_looks_at_images(tmp_path):
    """Rethinking goes on behind the images; log-probabilities of stitched rows are those of a fresh pass."""
    kept = Watch(replays=True)
    rethink = ForcedRethink(share=1.0, temperature=1.0)

    def reward(completions, **_):
        return [float("Wait" in text[0]["content"]) for text in completions]

    rows = [question(number) for number in (1, 2, 3)]
    parts = {"rethink": rethink, "shapers": [kept], "max_completion_length": 48, "max_steps": 1}
    trainer = make(tmp_path, reward, rows, **parts)
    trainer.generation_config.eos_token_id = trainer.eos_token_ids = list(range(2, 500, 3))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    assert rethink.sums["accepted"] > 0
    (batch,) = kept.batches
    trainer.model.load_state_dict(before)
    for i in range(8):
        n = int(batch.data["completion_mask"][i].sum())
        stored = batch.data["old_per_token_logps"][i, :n]
        torch.testing.assert_close(stored, alone(trainer, batch, i), atol=2e-4, rtol=0)


# ---------------------------------------------------------------- images that tools return


def tool_call(name):
    return f'<tool_call>\n{{"name": "{name}", "arguments": {{}}}}\n</tool_call><|im_end|>'


def crop() -> list:
    """Looks at a part of the picture.

    Returns:
        The part, as an image.
    """
    crop.calls += 1
    wide = (8 * (1 + crop.calls % 3), 16)
    return [{"type": "image", "image": Image.new("RGB", wide, (9 * crop.calls % 255, 0, 200))}]


crop.calls = 0


def calls_first(prompts, trainer):
    """The first turn of every other attempt is a call of the tool; the model itself writes what follows."""
    ids, _, _ = trainer._tokenize_prompts(prompts)
    texts = [tool_call("crop") if i % 2 == 0 else "no<|im_end|>" for i in range(len(prompts))]
    answers = [trainer._tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    return {"prompt_ids": ids, "completion_ids": answers, "logprobs": None}


def make_with_tool(tmp_path, **parts):
    import trl
    from datasets import Dataset

    model, processor = tiny_vlm()
    template = (Path(trl.__file__).parent / "chat_templates" / "qwen3_vl.jinja").read_text()
    processor.chat_template = processor.tokenizer.chat_template = template
    longest = parts.pop("max_completion_length", 160)
    rows = [{"prompt": [{"role": "user", "content": f"Picture {n}: what?"}], "number": n} for n in range(4)]
    return GroupTrainer(
        model,
        half_flat,
        args=GRPOConfig(
            output_dir=str(tmp_path / "out"),
            generation_kwargs={"suppress_tokens": image_tokens(processor)},
            per_device_train_batch_size=8,
            num_generations=4,
            max_completion_length=longest,
            max_tool_calling_iterations=1,
            max_steps=4,
            learning_rate=1e-2,
            report_to="none",
            save_strategy="no",
            logging_steps=1,
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            activation_checkpointing=False,
            seed=7,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=processor,
        tools=[crop],
        rollout_func=calls_first,
        **parts,
    )


def test_images_from_tools_follow_their_rows(tmp_path, monkeypatch):
    """The tool's image lies in the completion, masked from the loss; a drawn row brings it, its mask and its grid."""
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")  # rollout_func, which makes the first turn certain
    before, after = Watch(replays=True), Watch()
    trainer = make_with_tool(tmp_path, shapers=[before, SampleReplay(episode=None), after], advantage="center")
    trainer.train()
    sources = [written(raw, i) for raw in before.batches for i in range(8)]
    drawn = 0
    for out in after.batches:
        for i in range(8):
            row, n = written(out, i), int(out.data["completion_mask"][i].sum())
            pads = out.data["completion_ids"][i, :n] == trainer._image_pad_token_id
            assert not (pads & out.data["tool_mask"][i, :n].bool()).any()
            assert int(pads.sum()) == (int(row["grid"].prod()) // 4 if row["images"] else 0)
            if out.data["replayed"][i]:
                source = next(s for s in sources if s["ids"] == row["ids"] and torch.equal(s["logps"], row["logps"]))
                assert row["images"] == source["images"]
                if row["images"]:
                    assert torch.equal(row["pixels"], source["pixels"])
                    drawn += 1
    assert drawn > 0
