"""Warm-start traces: the mix, mistakes that are mistakes, and masks by the spans of turns (E3, 23)."""

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backcast.core.errors import BadInput
from backcast.lm.local_sight import LocalSight
from backcast.lm.sight import Reply
from backcast.lm.tiny import tiny_vlm
from backcast.vision.looker import Box, preset
from backcast.vision.problems import Scenes, generate
from backcast.vision.problems.scenes import plain
from backcast.vision.warmup import IMAGE, VIDEO, ModelWriter, RuleWriter, mask, quota, synthesise
from backcast.vision.warmup.masks import IGNORED, kept
from backcast.vision.warmup.mix import FAR_TOO_LARGE, MISTAKES, UNTOOLED, elsewhere, too_large, untooled
from backcast.vision.warmup.traces import build

SCENES = Scenes(canvas=224, ratio=0.5)


def test_the_mixes_are_the_papers():
    assert Counter(quota(100, IMAGE)) == {"single-pass": 30, "recrop-once": 20, "recrop-twice": 20, "further-zoom": 30}
    assert Counter(quota(10, VIDEO)) == {"single-pass": 9, "reselect": 1}
    assert quota(50, IMAGE, 1) != quota(50, IMAGE, 2)
    with pytest.raises(BadInput, match="add up to 1"):
        quota(10, {"single-pass": 0.5})


@given(st.integers(0, 500), st.integers(0, 3))
def test_shares_are_as_exact_as_whole_numbers_allow(count, seed):
    found = Counter(quota(count, IMAGE, seed))
    assert sum(found.values()) == count
    assert all(abs(found[kind] - share * count) < 1 for kind, share in IMAGE.items())


sizes = st.tuples(st.integers(100, 900), st.integers(100, 900))


@given(sizes, st.lists(st.floats(0, 1), min_size=4, max_size=4), st.integers(0, 99))
def test_wrong_boxes_are_wrong(size, numbers, seed):
    """No overlap with the reference; or all of it and at least four times its area. Always inside the image."""
    x1, x2 = sorted(numbers[:2])
    y1, y2 = sorted(numbers[2:])
    reference = Box(x1 * size[0] * 0.9, y1 * size[1] * 0.9, x2 * size[0] * 0.9 + 9, y2 * size[1] * 0.9 + 9, "own")
    whole, chance = Box(0, 0, *size, frame="own"), random.Random(seed)
    other = elsewhere(reference, size, chance)
    if other is not None:
        assert other.overlap(reference) == pytest.approx(0, abs=1e-6)
        assert min(other.x2 - other.x1, other.y2 - other.y1) >= 28 - 1e-6
        assert whole.padded(0.001, size).contains(other)
    large = too_large(reference, size, chance)
    if large is not None:
        assert large.contains(reference)
        assert large.area() >= FAR_TOO_LARGE * reference.area() * (1 - 1e-6)


def test_traces_really_do_what_they_say():
    """Every operation was carried out; wrong ones miss the tile, the last one holds it; kinds come in their shares."""
    problems = generate(20, SCENES, seed=0)
    traces, notes = synthesise(problems, seed=3)
    assert notes == []
    assert Counter(trace.kind for trace in traces) == Counter(quota(20, IMAGE, 3))
    for trace in traces:
        assistant = [good for turn, good in zip(trace.turns, trace.right, strict=True) if turn.role == "assistant"]
        assert assistant == [False] * MISTAKES[trace.kind] + [True, True]
        assert not any(good for turn, good in zip(trace.turns, trace.right, strict=True) if turn.role != "assistant")
        assert trace.turns[-1].text.endswith(f"\\boxed{{{trace.problem.answer}}}")
        assert sum(len(turn.pictures) for turn in trace.turns) == 2 + MISTAKES[trace.kind]
        assert "Error" not in "".join(turn.text for turn in trace.turns if turn.role == "tool")


def test_what_needs_no_look_is_answered_at_once_half_of_it_without_tools():
    """The mix is that of the others; nothing in these traces speaks of a look."""
    problems = generate(60, Scenes(canvas=224, ratio=0.5, easy=0.5), seed=0)
    traces, notes = synthesise(problems, seed=3, plain=plain)
    easy = [trace for trace in traces if plain(trace.problem)]
    assert notes == []
    assert 20 < len(easy) < 40
    assert {trace.kind for trace in easy} == {"text-only"}
    assert 0.25 * len(easy) < sum(not trace.tools for trace in easy) < 0.75 * len(easy)
    for trace in easy:
        roles = [turn.role for turn in trace.turns]
        assert roles == ["user", "assistant"]
        assert trace.right == (False, True)
        assert ("zoom_in" in trace.turns[0].text) == bool(trace.tools)
        assert "too small" not in trace.turns[1].text
        assert trace.turns[1].text.endswith(f"{trace.problem.answer}.\n\n\\boxed{{{trace.problem.answer}}}")
    others = Counter(trace.kind for trace in traces if not plain(trace.problem))
    assert others == Counter(quota(60 - len(easy), IMAGE, 3))


def test_a_few_traces_without_tools_where_a_look_is_needed_are_answered_at_once():
    """Exactly the share asked for; the others keep the mix among themselves."""
    mix = untooled(IMAGE)
    assert mix["no-tools"] == UNTOOLED
    assert sum(mix.values()) == pytest.approx(1)
    assert mix["recrop-once"] / mix["further-zoom"] == pytest.approx(IMAGE["recrop-once"] / IMAGE["further-zoom"])
    traces, notes = synthesise(generate(40, SCENES, seed=0), seed=3, mixes={"image": mix}, plain=plain)
    assert notes == []
    without = [trace for trace in traces if not trace.tools]
    assert len(without) == 2
    assert {trace.kind for trace in without} == {"no-tools"}
    for trace in without:
        assert not plain(trace.problem)
        assert [turn.role for turn in trace.turns] == ["user", "assistant"]
        assert "zoom_in" not in trace.turns[0].text
        assert trace.right == (False, True)
        assert trace.turns[1].text.endswith(f"{trace.problem.answer}.\n\n\\boxed{{{trace.problem.answer}}}")
    assert not any(trace.kind == "no-tools" for trace in synthesise(generate(40, SCENES, seed=0), seed=3)[0])


def test_video_traces():
    traces, _ = synthesise(generate(10, Scenes(canvas=112, ratio=0.5, frames=4), seed=0), seed=0)
    assert Counter(trace.kind for trace in traces) == {"single-pass": 9, "reselect": 1}
    again = next(trace for trace in traces if trace.kind == "reselect")
    calls = [turn.text for turn in again.turns if "<tool_call>" in turn.text]
    assert str(list(again.problem.moments)) not in calls[0]
    assert str(list(again.problem.moments)) in calls[1]


def test_problems_without_a_known_place_are_left_out_and_told():
    problem = generate(1, SCENES)[0]
    blind = problem.__class__(**{**vars(problem), "box": None})
    traces, notes = synthesise([blind])
    assert (traces, len(notes)) == ([], 1)


def test_a_model_writes_the_analyses():
    class Author:
        name = fingerprint = "author"

        def __init__(self, *texts):
            self.texts, self.asked = list(texts), []

        def reply(self, conversations, tools, sampling):
            self.asked.append(conversations[0][0])
            return [Reply(self.texts.pop(0), (), 3, 3, True)]

    problem = generate(1, SCENES)[0]
    author = Author("\\boxed{4}", "The whole.", "The part.")  # the first would break the trace and is asked for again
    (trace,), _ = synthesise([problem], ModelWriter(author), mixes={"image": {"single-pass": 1.0}})
    texts = [turn.text for turn in trace.turns if turn.role == "assistant"]
    assert texts[0].startswith("The whole. ")
    assert texts[1].startswith("The part.")
    assert len(author.asked[-1].pictures) == 1
    with pytest.raises(BadInput, match="no usable analysis in 3 attempts"):
        synthesise([problem], ModelWriter(Author(*["\\boxed{1}"] * 3)))


# ---------------------------------------------------------------- masks


@pytest.fixture(scope="module", params=["chatml", "qwen3_vl_training", "qwen2_5_vl_training"])
def eyes(request):
    import trl

    model, processor = tiny_vlm()
    if request.param != "chatml":
        template = (Path(trl.__file__).parent / "chat_templates" / f"{request.param}.jinja").read_text()
        processor.chat_template = processor.tokenizer.chat_template = template
    return LocalSight(model, processor)


def learnt(lm, found):
    return lm.tokenizer.decode([label for label in found.labels if label != IGNORED])


@pytest.mark.parametrize("kind", ["single-pass", "recrop-once", "recrop-twice", "further-zoom", "text-only"])
def test_learnt_is_the_right_operation_and_the_answer(eyes, kind):
    """Under three templates the same text and the same number of tokens; results and wrong operations never."""
    problem = generate(1, SCENES, seed=4)[0]
    trace = build(problem, kind, random.Random(0), RuleWriter())
    found = mask(eyes, trace.turns, trace.right, trace.tools)
    end = eyes.tokenizer.eos_token
    said = [turn.text for turn, good in zip(trace.turns, trace.right, strict=True) if good]
    assert len(said) == (1 if kind == "text-only" else 2)
    assert learnt(eyes, found) == "".join(text + end for text in said)
    by_hand = sum(len(eyes.tokenizer(text + end, add_special_tokens=False).input_ids) for text in said)
    assert sum(label != IGNORED for label in found.labels) == by_hand
    pads = eyes.model.config.image_token_id
    assert all(label == IGNORED for token, label in zip(found.ids, found.labels, strict=True) if token == pads)


def test_all_turns_are_what_the_template_itself_marks(eyes):
    """With every turn of the assistant learnt, the tokens are those inside the template's ``generation`` marks."""
    if "generation %}" not in str(eyes.processor.chat_template):
        pytest.skip("this template marks nothing")
    trace = build(generate(1, SCENES, seed=4)[0], "recrop-twice", random.Random(0), RuleWriter())
    every = [turn.role == "assistant" for turn in trace.turns]
    found = mask(eyes, trace.turns, every)
    from backcast.lm.local_sight import chat

    own = eyes.tokenizer.apply_chat_template(
        chat(trace.turns, eyes.results), return_dict=True, return_assistant_tokens_mask=True, tokenize=True
    )
    marked = [token for token, inside in zip(own["input_ids"], own["assistant_masks"], strict=True) if inside]
    mine = [label for label in found.labels if label != IGNORED]
    trimmed = [token for token in marked if eyes.tokenizer.decode([token]).strip("\n")]
    assert [token for token in mine if eyes.tokenizer.decode([token]).strip("\n")] == trimmed


def test_an_earlier_legitimate_operation_is_learnt_and_the_authors_rule_loses_it(eyes):
    trace = build(generate(1, SCENES, seed=4)[0], "further-zoom", random.Random(0), RuleWriter())
    legitimate = [turn.role == "assistant" for turn in trace.turns]
    assert sum(kept(trace.turns, legitimate)) == 3
    assert sum(kept(trace.turns, legitimate, "last-two")) == 2
    ours = mask(eyes, trace.turns, trace.right, trace.tools)
    theirs = mask(eyes, trace.turns, trace.right, trace.tools, "last-two")
    assert learnt(eyes, theirs).count("assistant\n") == 2  # the role's header is learnt too
    assert learnt(eyes, ours).count("assistant\n") == 0


def test_a_template_that_changes_earlier_turns_is_refused():
    model, processor = tiny_vlm()
    template = processor.chat_template.replace(
        "{% if message['content'] is string %}", "{{ loop.revindex }}{% if message['content'] is string %}"
    )
    processor.chat_template = processor.tokenizer.chat_template = template
    trace = build(generate(1, SCENES)[0], "single-pass", random.Random(0), RuleWriter())
    with pytest.raises(BadInput, match="changes earlier turns"):
        mask(LocalSight(model, processor), trace.turns, trace.right)


def test_the_authors_way_of_calling():
    trace = build(
        generate(1, Scenes(), seed=4)[0], "single-pass", random.Random(0), RuleWriter(), preset("authors-train")
    )
    assert '"name": "crop_image_normalized"' in trace.turns[1].text
    assert trace.turns[2].role == "user"
