"""Real vision-language families, random and small, built from configs and laid out on disk: no download.

Each goes the whole way: folder -> processor -> template -> generation -> call -> image result -> a step of SFT, and of
GRPO with tools where TRL knows the family's images. The stock image processors (Pillow) of all four load without
torchvision; the processors of Qwen2.5-VL, Qwen3-VL and SmolVLM do not, because of their video part, and ours puts them
together without it.
"""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from backcast.core.errors import BadInput
from backcast.learn.sft.settings import SFTSettings
from backcast.lm.base import Sampling
from backcast.lm.local_sight import LocalSight
from backcast.lm.sight import Reply
from backcast.vision.curiosity import CuriosityReward
from backcast.vision.looker import Ask, Budget, preset
from backcast.vision.looker.environment import environment
from backcast.vision.looker.loop import begin, take
from backcast.vision.media import Media
from backcast.vision.problems import Scenes, generate
from backcast.vision.warmup import RuleWriter
from backcast.vision.warmup.fit import trainer as warm_trainer
from backcast.vision.warmup.masks import IGNORED, mask
from backcast.vision.warmup.traces import build
from tests.vision.conftest import sign
from tests.vision.families import FAMILIES, template

SETTINGS = replace(preset("strict"), reply_tokens=6, crop=Budget(4, 16), first=Budget(4, 64))
CALL = {"name": "zoom_in", "arguments": {"bbox_2d": [0.3, 0.2, 0.6, 0.6], "target_image": 1}}
FAILING = {"name": "zoom_in", "arguments": {"bbox_2d": [0.6, 0.2, 0.3, 0.6], "target_image": 1}}
WITHOUT_HELP = {"qwen2.5-vl": False, "qwen3-vl": False, "idefics3": True, "smolvlm": False}


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request, tmp_path_factory):
    return request.param, FAMILIES[request.param](tmp_path_factory.mktemp("vlm") / request.param)


def test_which_stock_processors_load_without_torchvision(family):
    """If this changes, ours has become unnecessary: delete it."""
    from transformers import AutoImageProcessor, AutoProcessor

    name, folder = family
    assert AutoImageProcessor.from_pretrained(folder) is not None
    if WITHOUT_HELP[name]:
        assert AutoProcessor.from_pretrained(folder) is not None
    else:
        with pytest.raises(ImportError, match="Torchvision"):
            AutoProcessor.from_pretrained(folder)


def test_a_saved_processor_opens_again_and_is_the_same(family, tmp_path):
    """What training saves is what ``look`` opens."""
    import shutil

    from backcast.lm.processors import open_processor

    _, folder = family
    first = open_processor(folder)
    shutil.copy(folder / "config.json", tmp_path)
    first.save_pretrained(tmp_path)
    again = open_processor(tmp_path)
    picture = sign((90, 60), (20, 20), 15)
    texts = [f"{first.image_token} what?"]
    one, other = (processor(text=texts, images=[[picture]], return_tensors="pt") for processor in (first, again))
    assert set(one) == set(other)
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert again.chat_template == first.chat_template


def looked(media):
    """A conversation in which a call has been answered."""
    look = begin(Ask(media, "What is on the red sign?"), SETTINGS)
    take(look, Reply(f"Closer.\n<tool_call>\n{json.dumps(CALL)}\n</tool_call>", (), 9, 50, True), SETTINGS)
    return look


def test_a_call_and_its_image_result_reach_the_model(family):
    """Generation behind an image result; the crop is really seen: another one gives other logits, the same the same."""
    _, folder = family
    lm = LocalSight.open(folder)
    media = Media((sign((300, 200), (120, 60), 30),))
    look = looked(media)
    assert [turn.role for turn in look.turns] == ["user", "assistant", "tool"]
    tools = SETTINGS.calling.tools(look.desk.names, "unit")
    (reply,) = lm.reply([look.turns], tools, Sampling(0.0, max_tokens=6))
    assert 0 < reply.tokens <= 6
    assert lm.tools_by == ("template" if lm.results == "tool" else "system")
    text = lm.render(look.turns, tools)
    assert text.index("zoom_in") < text.index("Closer.") < text.index("Image 2 is image 1 at")

    def last(pictures):
        with torch.no_grad():
            return lm.model(**lm.encode([text], [pictures])).logits[0, -1]

    first, crop = (view.picture for view in look.views)
    dark = Image.new("RGB", crop.size, (0, 0, 0))
    torch.testing.assert_close(last([first, crop]), last([first, crop]))
    assert (last([first, crop]) - last([first, dark])).abs().max() > 1e-3
    assert (last([first, crop]) - last([dark.resize(first.size), crop])).abs().max() > 1e-3


def test_a_batch_of_conversations_is_what_each_is_alone(family):
    """Rows with one and two pictures side by side, padded on the left: the same greedy replies as one by one."""
    _, folder = family
    lm = LocalSight.open(folder)
    media = Media((sign((300, 200), (120, 60), 30),))
    conversations = [looked(media).turns, begin(Ask(media, "What?"), SETTINGS).turns]
    together = lm.reply(conversations, (), Sampling(0.0, max_tokens=6))
    alone = [lm.reply([turns], (), Sampling(0.0, max_tokens=6))[0] for turns in conversations]
    assert [reply.prompt_tokens for reply in together] == [reply.prompt_tokens for reply in alone]
    assert together == alone


def test_a_step_of_sft_learns_what_is_masked_in_and_nothing_else(family, tmp_path):
    _, folder = family
    lm = LocalSight.open(folder)
    problems = generate(2, Scenes(canvas=112, ratio=1.0, tiles=1), seed=1)
    kinds = ("single-pass", "further-zoom")
    traces = [build(p, kind, random.Random(0), RuleWriter(), SETTINGS) for p, kind in zip(problems, kinds, strict=True)]
    assert None not in traces
    found = [mask(lm, trace.turns, trace.right, trace.tools) for trace in traces]
    settings = SFTSettings(
        batch=2, device_batch=2, epochs=6, learning_rate=1e-2, warmup=0.0, device="cpu", dtype="float32"
    )
    learner = warm_trainer(lm, traces, settings, tmp_path)
    batch = next(iter(learner.get_train_dataloader()))
    learnt = [[label for label in row.tolist() if label != IGNORED] for row in batch["labels"]]
    assert sorted(learnt) == sorted([[label for label in one.labels if label != IGNORED] for one in found])
    with torch.no_grad():
        lm.model.eval()
        logits = lm.model(**{key: value for key, value in batch.items() if key != "labels"}).logits.float()
        wanted = batch["labels"][:, 1:]
        by_hand = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), wanted, ignore_index=IGNORED)
        lm.model.train()
    learner.train()
    losses = [line["loss"] for line in learner.state.log_history if "loss" in line]
    assert losses[0] == pytest.approx(float(by_hand), rel=1e-3)
    assert losses[-1] < losses[0]


def force_calls(learner, monkeypatch, made):
    """Two of four attempts call the tool: a random model never would. The model itself writes what follows.

    Not by ``rollout_func``, with which TRL 1.16 forgets the prompt's own images while the tools run.
    """
    write, call = learner._generate_single_turn, f"<tool_call>\n{json.dumps(made)}\n</tool_call><|im_end|>"
    texts, turns = [call, "\\boxed{9}<|im_end|>"] * 2, []

    def forced(*arguments, **more):
        found, logprobs = write(*arguments, **more)
        turns.append(len(found))
        if len(turns) > 1:
            return found, logprobs
        return [learner._tokenizer(text, add_special_tokens=False).input_ids for text in texts], logprobs

    monkeypatch.setattr(learner, "_generate_single_turn", forced)
    return turns


def sometimes(completions, **_):
    return [float(i % 4 == 1) for i in range(len(completions))]


@pytest.mark.parametrize("made", [CALL, FAILING], ids=["call", "failing"])
def test_a_step_of_grpo_with_tools(family, tmp_path, monkeypatch, made):
    """TRL calls our environment, its picture goes into the completion, masked; curiosity pays those that looked.

    Where all calls fail there is no picture in any completion, only the error's text.
    """
    name, folder = family
    if not name.startswith("qwen"):
        pytest.skip("TRL 1.16 knows the image marks of the Qwen families only")
    from datasets import Dataset

    from backcast.learn.trainer import GroupTrainer, GRPOConfig

    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    lm = LocalSight.open(folder)
    # Qwen2.5-VL's own template knows no tools; Qwen3-VL's writes the same marks.
    lm.processor.chat_template = lm.tokenizer.chat_template = template("qwen3_vl")
    rows = [{"prompt": [{"role": "user", "content": "Which?"}], "images": [sign((120, 90), (40, 30), 20)]}] * 2
    reward = CuriosityReward(sometimes, 4)
    suppressed = [lm.tokenizer.convert_tokens_to_ids(mark) for mark in ("<|image_pad|>", "<|video_pad|>")]
    learner = GroupTrainer(
        lm.model,
        reward,
        args=GRPOConfig(
            output_dir=str(tmp_path / "out"),
            per_device_train_batch_size=4,
            num_generations=4,
            max_completion_length=400,
            max_tool_calling_iterations=1,
            max_steps=1,
            learning_rate=1e-2,
            report_to="none",
            save_strategy="no",
            logging_steps=1,
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            activation_checkpointing=False,
            generation_kwargs={"suppress_tokens": suppressed, "max_new_tokens": 8},
            seed=3,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=lm.processor,
        environment_factory=environment(SETTINGS),
        advantage="center",
    )
    turns = force_calls(learner, monkeypatch, made)
    before = {key: value.clone() for key, value in lm.model.state_dict().items()}
    kept = {}
    train_step = learner._generate_and_score_completions

    def watch(inputs):
        kept["batch"] = train_step(inputs)
        return kept["batch"]

    monkeypatch.setattr(learner, "_generate_and_score_completions", watch)
    learner.train()
    assert any(not torch.equal(value, before[key]) for key, value in lm.model.state_dict().items())
    assert turns == [4, 2]  # the two that called go on behind the picture
    batch = kept["batch"]
    pad = learner._image_pad_token_id
    pads = (batch["completion_ids"] == pad).sum(1).tolist()
    assert [count > 0 for count in pads] == ([True, False, True, False] if made is CALL else [False] * 4)
    told = batch["tool_mask"].bool() | ~batch["completion_mask"].bool()
    assert [not bool(row.all()) for row in told] == [True, False, True, False]
    assert not ((batch["completion_ids"] == pad) & batch["tool_mask"].bool()).any()
    assert reward.sums.looked == 2
    assert reward.sums.failed == (0 if made is CALL else 2)
    assert reward.sums.attempts == 4
    log = next(line for line in learner.state.log_history if "reward" in line)
    assert log["reward"] == pytest.approx(0.25)  # one of four is right; half of them looked, so no bonus is due


def test_grpo_without_tools_sees_the_images(family, tmp_path):
    """The families whose image marks TRL does not know still train on questions about images."""
    name, folder = family
    if name.startswith("qwen"):
        pytest.skip("covered with tools")
    from datasets import Dataset

    from backcast.learn.trainer import GroupTrainer, GRPOConfig

    lm = LocalSight.open(folder)
    lm.tokenizer.padding_side = "left"
    rows = [{"prompt": [{"role": "user", "content": "Which?"}], "images": [sign((120, 90), (40, 30), 20)]}] * 2
    learner = GroupTrainer(
        lm.model,
        sometimes,
        args=GRPOConfig(
            output_dir=str(tmp_path / "out"),
            per_device_train_batch_size=4,
            num_generations=4,
            max_completion_length=5,
            max_steps=1,
            learning_rate=1e-2,
            report_to="none",
            save_strategy="no",
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            activation_checkpointing=False,
            seed=3,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=lm.processor,
        advantage="center",
    )
    before = {key: value.clone() for key, value in lm.model.state_dict().items()}
    learner.train()
    assert any(not torch.equal(value, before[key]) for key, value in lm.model.state_dict().items() if "vision" in key)


def test_qwens_pictures_have_the_size_that_was_told(family):
    """What the processor makes of a shown picture is the picture: our budget's sizes are its own."""
    _, folder = family
    lm = LocalSight.open(folder)
    if lm.cell is None:
        pytest.skip("no grid of tokens")
    media = Media((Image.fromarray(np.random.default_rng(0).integers(0, 255, (211, 333, 3), np.uint8)),))
    look = begin(Ask(media, "?"), SETTINGS.for_cell(lm.cell))
    picture = look.views[0].picture
    grid = lm.encode([lm.render(look.turns, ())], [[picture]])["image_grid_thw"][0]
    assert (int(grid[2]), int(grid[1])) == tuple(side * 2 // lm.cell for side in picture.size)


def test_a_text_model_is_refused_by_name(tiny_llama):
    with pytest.raises(BadInput, match="'llama', which takes no pictures"):
        LocalSight.open(tiny_llama)
