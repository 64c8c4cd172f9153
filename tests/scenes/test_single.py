"""The single-stage baseline: its grammar, its losses' places, what it learns, and where its budget ends."""

import numpy as np
import pytest

from backcast.scenes.counts import Persistence, forecast_all
from backcast.scenes.forecast import cases
from backcast.scenes.problems import ACTION_GENOME, Clip, Clips, Frame, Group, Vocabulary
from backcast.scenes.problems.household import make_household
from backcast.scenes.score import Rules, metric, tally

torch = pytest.importorskip("torch")

from backcast.scenes.ootsm import Settings, fit_single  # noqa: E402
from backcast.scenes.ootsm import single as S  # noqa: E402
from backcast.scenes.ootsm.encode import Encoder  # noqa: E402

WORDS = Vocabulary(("a", "b", "c"), (Group("g", ("p", "q"), arity="one"), Group("h", ("r", "s"), allow_empty=True)))


def test_the_grammar_lets_every_true_answer_through():
    """Of generated clips, token by token; a thing without its attention label cannot be left, nothing comes twice."""
    encoder = Encoder(ACTION_GENOME)
    for clip in make_household(5, seed=3).clips:
        place = S.Place(encoder, len(clip.frames))
        for token in S.answer(clip.frames, encoder):
            assert token in place.allowed()
            if token != S.END:
                place.write(token)
    small = Encoder(WORDS)
    place = S.Place(small, 1)
    for token in (small.ahead(1), small.thing(1)):
        place.write(token)
    assert place.allowed() == [small.predicate(0), small.predicate(1)]
    place.write(small.predicate(1))
    assert place.allowed() == [small.predicate(2), small.predicate(3), small.thing(2), S.END]


def test_every_untrained_answer_is_one():
    """What an untrained writer writes has one attention label, known frames, and is counted when it is cut off."""
    torch.manual_seed(0)
    encoder = Encoder(ACTION_GENOME)
    model = S.SingleStage(encoder, S.Writer(encoder.size, 16, 1, 0.0).eval())
    one = model.forecast("x", (Frame(0, {5: (0, 3, 9)}),), list(range(1, 40)))
    labels = one.predicates > 0
    assert (labels[..., :3].sum(-1)[one.listed] == 1).all()
    assert model.truncated == 1
    assert one.listed.shape == (39, 37)


def test_the_budget_is_the_writers():
    """Half the tokens write the beginning of the same answer; frames behind its end repeat the last one written."""
    torch.manual_seed(0)
    encoder = Encoder(ACTION_GENOME)
    short = S.Writer(encoder.size, 16, 1, 0.0, budget=100).eval()
    long = S.Writer(encoder.size, 16, 1, 0.0, budget=200).eval()
    with torch.no_grad():
        short.place.weight.copy_(long.place.weight[100:300])
    short.load_state_dict({k: v for k, v in long.state_dict().items() if "place" not in k}, strict=False)
    models = [S.SingleStage(encoder, writer) for writer in (short, long)]
    a, b = (model.forecast("x", (Frame(0, {5: (0, 3, 9)}),), list(range(1, 40))) for model in models)
    assert [model.truncated for model in models] == [1, 1]
    last = int(np.flatnonzero((a.predicates != a.predicates[-1]).any((1, 2))).max()) + 1
    assert 0 < last < 39
    assert np.allclose(a.predicates[:last], b.predicates[:last], atol=1e-6)
    assert not np.allclose(a.predicates[last:], b.predicates[last:], atol=1e-6)
    with pytest.raises(ValueError, match="a prompt alone may take 96"):
        fit_single(make_household(2), budget=96)


def test_loss_counts_the_answer_alone():
    """The mean of -log p over the answer's tokens, whatever the other rows' lengths."""
    torch.manual_seed(0)
    encoder = Encoder(WORDS)
    writer = S.Writer(encoder.size, 16, 1, 0.0).eval()
    rows = [([3, 20, 22], [11, 19, 22, S.END]), ([3], [11, S.END])]
    losses = []
    for prompt, said in rows:
        tokens = torch.tensor([prompt + said])
        logs = writer(tokens, torch.tensor([len(prompt)]))[0].log_softmax(-1)
        losses += [-logs[len(prompt) - 1 + i, token].item() for i, token in enumerate(said)]
    assert S._loss(writer, rows).item() == pytest.approx(np.mean(losses), abs=1e-5)


def test_learns():
    """The next object follows from two frames: a fitted writer knows, copying does not."""

    def cycle(count, seed):
        rng = np.random.default_rng(seed)
        made = []
        for i in range(count):
            way, place = int(rng.choice([-1, 1])), int(rng.integers(3))
            made.append(Clip(f"{i}", tuple(Frame(t, {(place + way * t) % 3: (t % 2,)}) for t in range(6))))
        return Clips(WORDS, tuple(made))

    model = fit_single(cycle(40, 1), Settings(steps=120, batch=12, width=32, layers=2, dropout=0.0))
    asked, _ = cases(cycle(20, 2).clips, 0.5)
    questions = [(case.id, case.seen, case.future) for case in asked]

    def f1(which):
        made = forecast_all(which, questions)
        return float(metric(tally(made, asked, WORDS, Rules(ks=(2,))).total(), "object f1"))

    assert f1(model) > 0.9
    assert f1(Persistence(WORDS)) < 0.5
    assert model.truncated == 0
