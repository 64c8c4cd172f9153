"""Both stages asked of language models: probabilities under the grammar, adapters, servers, the commands."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from backcast.cli import main
from backcast.core.errors import BadInput
from backcast.scenes.counts import Persistence, forecast_all
from backcast.scenes.forecast import cases
from backcast.scenes.grammar import Labelling, Listing, Trie
from backcast.scenes.problems import Clip, Clips, Frame, Group, Vocabulary, write_clips
from backcast.scenes.score import Rules, metric, tally

torch = pytest.importorskip("torch")

from backcast.lm.base import Prompt  # noqa: E402
from backcast.lm.local import LocalLM  # noqa: E402
from backcast.scenes.chances import Ask, Beam, chances, marginals  # noqa: E402
from backcast.scenes.ootsm import Adapting, adapt, load, zero_shot  # noqa: E402
from backcast.scenes.ootsm.adapting import Row, batch_of, draw_row, loss_of  # noqa: E402
from backcast.scenes.ootsm.prompts import Asker, relative  # noqa: E402
from backcast.scenes.ootsm.stored import save_language  # noqa: E402
from tests.lm.served import served  # noqa: E402

WORDS = Vocabulary(
    ("door", "doorknob", "cup"),
    (Group("g", ("in", "in_front_of"), arity="one"), Group("h", ("r", "s", "t"), allow_empty=True)),
)
ALL = Beam(width=10**6, floor=0.0)
ASKED = Prompt((("user", "- door: in; r\nWhat next?"),))


@pytest.fixture(scope="module")
def lm(tiny_llama):
    return LocalLM(tiny_llama)


class Tokens:
    """A local model one token at a time: what the trie of ``grammar`` asks for."""

    def __init__(self, lm):
        self.lm = lm

    def encode(self, text):
        return self.lm.tokenizer(text, add_special_tokens=False).input_ids

    @torch.inference_mode()
    def next(self, tokens):
        return torch.log_softmax(self.lm.model(torch.tensor([tokens])).logits[0, -1].float(), -1).numpy()


def test_chances_are_the_tries(lm):
    """The trie walked token by token gives what forced continuations give; names that begin alike do not leak."""
    from backcast.lm.chat import render

    strings = ("in\n", "in_front_of\n", "on\n", "door\n", "doorknob\n")
    model, prompt = Tokens(lm), render(lm.tokenizer, ASKED) + "Frame 4:\n"
    want = Trie(model, strings).probabilities(model, model.encode(prompt))
    (found,) = chances(lm, [Ask(ASKED, "Frame 4:\n", strings)])
    assert found == pytest.approx([want[string] for string in strings], abs=1e-5)
    assert found.sum() == pytest.approx(1, abs=1e-6)
    assert np.ptp(found) > 0.01


def test_unlikely_beginnings_are_not_followed(lm):
    """Piece by piece gives what whole strings give; behind a beginning below the floor, names share what it has, and
    the model is run on less."""
    strings = tuple(f"{name}{end}" for name in ("in", "in_front_of", "on", "door", "doorknob", "cup") for end in ", \n")
    asks = [Ask(ASKED, "Frame 4: ", strings), Ask(ASKED, "Frame 4: door, ", strings[2:])]
    whole = chances(lm, asks)
    for one, other in zip(chances(lm, asks, [1e-12, 1e-12]), whole, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    first = lm.tokens_forwarded
    chances(lm, asks)
    middle = lm.tokens_forwarded
    short = chances(lm, asks, [0.9, 0.9])
    assert lm.tokens_forwarded - middle < middle - first
    for one, other in zip(short, whole, strict=True):
        assert one.sum() == pytest.approx(1, abs=1e-6)
        assert len(set(one.round(9))) < len(set(other.round(9)))


@pytest.mark.parametrize("request_", [Listing(WORDS, (3,)), Labelling(WORDS, (3,))])
def test_marginals_are_sums_over_all_answers(lm, request_):
    """Following every beginning gives, for each name, the summed probability of the answers that hold it."""
    want, texts, total = {}, [(request_.slot(()), 1.0)], 0.0
    while texts:
        chosen, mass = texts.pop()
        if chosen[-1].endswith("\n"):
            total += mass
            group = 0
            for string in chosen[1:]:
                key = (group, string.rstrip(",; \n"))
                want[key] = want.get(key, 0.0) + mass
                group += string.endswith("; ")
            continue
        slot = request_.slot(chosen)
        (each,) = chances(lm, [Ask(ASKED, "".join(chosen), slot)])
        texts += [((*chosen, string), mass * p) for string, p in zip(slot, each.tolist(), strict=True)]
    assert total == pytest.approx(1, abs=1e-6)
    (found,) = marginals(lm, [(ASKED, request_)], ALL)
    assert found == pytest.approx(want, abs=1e-6)
    # A narrow beam leaves out the little that unlikely beginnings would add.
    (narrow,) = marginals(lm, [(ASKED, request_)], Beam(2, 0.05))
    assert all(abs(narrow.get(key, 0.0) - value) < 0.2 for key, value in want.items())


def test_side_by_side_is_one_by_one(lm, tiny_llama):
    """Prompts and frames asked together, in shared passes or not, give what each gives alone, within 1e-4."""
    asker = Asker(WORDS, told=True)
    seen = frames({0: (0, 2)}, {0: (1,), 2: (0, 3, 4)})
    asked = [(asker.listing(seen), Listing(WORDS, (n,))) for n in (1, 2, 10)]
    asked += [(asker.labelling(seen, o), Labelling(WORDS, (n,))) for o, n in itertools.product(range(3), (1, 7))]
    alone = [marginals(lm, [one])[0] for one in asked]
    for model in (lm, LocalLM(tiny_llama, share_passes=True)):
        for one, other in zip(marginals(model, asked), alone, strict=True):
            assert one == pytest.approx(other, abs=1e-4)


def frames(*graphs):
    return tuple(Frame(10 * t, graph) for t, graph in enumerate(graphs))


def test_prompts():
    """Frames count back from the last one; the oldest go first; a model that was not fitted is told names and form."""
    seen = frames({0: (0,)}, {0: (0,)}, {2: (1, 2, 3)})
    assert [frame.index for frame in relative(seen)] == [-2, -1, 0]
    ((role, text),) = Asker(WORDS, told=False).listing(seen).messages
    assert role == "user"
    assert text == "Frame -2, -1:\n- door: in; None\nFrame 0:\n- cup: in_front_of; r, s\nObjects of a later frame?"
    ((_, text),) = Asker(WORDS, told=False).labelling(seen, 1).messages
    assert text.split("\n") == [
        "doorknob",
        "Frame -2, -1, 0: nothing",
        "Beside it: cup (in_front_of; r, s)",
        "doorknob in a later frame?",
    ]
    ((_, short),) = Asker(WORDS, told=False, limit=40).listing(seen).messages
    assert short.startswith("Frame 0:")
    (role, rules), _ = Asker(WORDS, told=True).labelling(seen, 1).messages
    assert role == "system"
    assert "g (one): in, in_front_of; h (one or more or None): r, s, t" in rules


def test_recorded_spans(lm):
    """The answer's tokens weigh by frames ahead, the prompt's nothing; rows in one batch weigh as they do alone."""
    rows = [Row(ASKED, "Frame 2: ", "door, cup\n", 2, 3), Row(ASKED, "Frame 1: ", "nothing\n", 1, 3)]
    tokens, weights = batch_of(lm, rows, 0.3)
    for row, ids, each, want in zip(rows, tokens, weights, (0.85, 1.0), strict=True):
        said = [token for token, weight in zip(ids, each, strict=True) if weight]
        assert lm.tokenizer.decode(said).lstrip() == row.answer
        assert {round(weight, 6) for weight in each} == {0.0, want}
    both = loss_of(lm.model, lm, rows, 0.3).item()
    alone = [loss_of(lm.model, lm, [row], 0.3).item() for row in rows]
    sums = [sum(each) for each in weights]
    assert both == pytest.approx(np.average(alone, weights=sums), abs=1e-5)


def test_drawn_rows():
    """Questions about later frames alone, also about objects that the past does not hold; the answer is that line."""
    clip = Clip("x", frames({0: (0,)}, {2: (1, 3)}, {1: (0,)}))
    asker, rng = Asker(WORDS, told=False), np.random.default_rng(0)
    found = [draw_row(clip, asker, rng, stage) for stage in ("listing", "labelling") for _ in range(30)]
    assert {(row.header, row.answer) for row in found[:30]} == {
        ("Frame 1: ", "cup\n"),
        ("Frame 2: ", "doorknob\n"),
        ("Frame 1: ", "doorknob\n"),
    }
    assert {row.answer for row in found[30:]} == {"in_front_of; s\n", "in; None\n"}
    assert any("Frame 0: nothing" in row.prompt.messages[0][1] for row in found[30:])
    assert draw_row(Clip("y", clip.frames[:1]), asker, rng, "listing") is None


def swaps(count, seed):
    """Clips in which the other of two objects takes over for good after the first frame."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        first = int(rng.choice([0, 2]))
        graphs = [{first: (0, 2)}] + [{2 - first: (1, 3)}] * 3
        made.append(Clip(f"{seed}-{i}", frames(*graphs)))
    return Clips(WORDS, tuple(made))


@pytest.fixture(scope="module")
def fitted(tiny_llama, tmp_path_factory):
    """(folder, model) of a small fit with adapters."""
    folder = tmp_path_factory.mktemp("fits") / "m"
    settings = Adapting(steps=30, batch=8, rate=1e-2, fraction=0.25, held_out=2)
    model = adapt(str(tiny_llama), swaps(20, 1), settings, folder)
    save_language(model, folder, str(tiny_llama), {"steps": 40})
    return folder, model


@pytest.mark.method(6, proves="adapts a language model")
def test_learns(fitted, lm):
    """The fitted model forecasts what copying cannot and the model as it comes does not."""
    asked, _ = cases(swaps(4, 2).clips, 0.25)
    questions = [(case.id, case.seen, case.future) for case in asked]

    def measured(model, name):
        made = forecast_all(model, questions)
        return float(metric(tally(made, asked, WORDS, Rules(ks=(2,))).total(), name))

    own = replace(fitted[1], mixture=replace(fitted[1].mixture, objects=(), predicates=()))
    assert measured(own, "object f1") > 0.8
    assert measured(own, "no R@2") > measured(zero_shot(lm, own.markov), "no R@2") + 0.3
    assert measured(Persistence(WORDS), "object f1") == 0


def test_an_object_never_seen_has_predicates(fitted):
    """Stage 2 answers for an object that the past does not hold; probabilities of a one-of group sum to one."""
    one, _ = fitted[1].answers("x", frames({0: (0, 2)}), [10, 20])
    assert one.objects[:, 2].min() > 0.1
    assert one.predicates[:, 2, :2].sum(-1) == pytest.approx(np.ones(2), abs=1e-5)
    assert one.predicates[0, 2, 3] > 0.5


def test_saved_and_loaded(fitted, tmp_path):
    """The folder holds adapters alone and gives the same forecasts; a base that has changed since is refused."""
    folder, model = fitted
    again = load(folder)
    seen = frames({0: (0, 2)}, {0: (0, 2)})
    a, b = (one.forecast("x", seen, [20, 30]) for one in (model, again))
    assert np.allclose(a.joint, b.joint, atol=1e-6)
    assert again.known == model.known
    line = json.loads((folder / "scenes.json").read_text())
    for part in folder.iterdir():
        target = tmp_path / part.name
        target.symlink_to(part) if part.is_dir() else target.write_bytes(part.read_bytes())
    (tmp_path / "scenes.json").write_text(json.dumps({**line, "fingerprints": ["x", "y"]}))
    with pytest.raises(BadInput, match="is not what it was at the fit"):
        load(tmp_path)


def test_a_server_scores_as_the_same_model_here(lm, tiny_llama, tmp_path, capsys):
    """The zero-shot row of a server is that of the same model here, by log-probabilities alone."""
    path, train = tmp_path / "test.jsonl", tmp_path / "train.jsonl"
    write_clips(path, Clips(WORDS, (Clip("x", frames({0: (0, 2)}, {2: (1, 3)})),)))
    write_clips(train, swaps(6, 1))
    rows = []
    with served(lm) as address:
        for model in (str(tiny_llama), f"{address}#toy"):
            assert main(["scene", "score", str(path), "--model", model, "--train", str(train), "--json"]) == 0
            rows.append(json.loads(capsys.readouterr().out))
    assert rows[0]["objects"] == rows[1]["objects"]
    assert rows[0]["calibration"] == pytest.approx(rows[1]["calibration"], abs=1e-4)


def test_command_line(tiny_llama, tmp_path, capsys):
    """fit, forecast and score of a folder; settings are checked."""
    train, test, model = tmp_path / "train.jsonl", tmp_path / "test.jsonl", str(tmp_path / "model")
    write_clips(train, swaps(6, 1))
    write_clips(test, swaps(2, 2))

    def answer(*words):
        assert main(["scene", *map(str, words), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    fit = ("--model", tiny_llama, "--out", model, "--steps", 1, "--batch", 2, "--rank", 2, "--held-out", 1)
    made = answer("fit", train, *fit)
    assert (made["clips"], made["model"]) == (6, str(tiny_llama))
    assert 0 < made["parameters"] < 20_000
    found = answer("score", test, "--model", model, "--train", train, "--k", 2)
    assert (found["videos"], found["model"], found["parse_failures"]) == (2, model, 0)
    zero = str(tiny_llama)
    both = answer("score", test, "--model", model, "--beside", zero, "--train", train, "--horizon", 0.25, "--k", 1, 2)
    assert {zero, model, "knn", "persistence"} <= both["short_and_long"].keys()
    assert zero in both["baselines"]
    assert zero in both["differences"]
    # Three frames ahead are near; nothing here is further.
    ((part, line),) = both["short_and_long"][zero].items()
    assert part.startswith("short, up to 3 frames")
    assert line["modes"]["no"]["mR@2"] == both["baselines"][zero]["modes"]["no"]["mR@2"]
    out = ("--frames", "90", "--out", tmp_path / "f.jsonl")
    assert answer("forecast", test, "--model", model, *out)["clips"] == 2
    for words, said in (
        (["fit", train, "--out", model], "holds a model already"),
        (["fit", train, "--out", model + "2", "--model", tiny_llama, "--width", 8], "--width does nothing for a lang"),
        (["fit", train, "--out", model + "2", "--rank", 8], "--rank does nothing for the tiny"),
        (["fit", train, "--out", model + "2", "--model", tiny_llama, "--beta", 2], "beta 2.0: give a number"),
        (["fit", train, "--out", model + "2", "--model", "smolm2"], "unknown model 'smolm2'"),
        (["score", test, "--model", "markof", "--train", train], "unknown model 'markof'"),
        (["score", test, "--model", "knn", "--beside", "knn"], "that is --model"),
        (["score", test, "--model", "knn", "--beside", tmp_path / "f.jsonl"], "the file of a forecast"),
    ):
        assert main(["scene", *map(str, words)]) == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1
