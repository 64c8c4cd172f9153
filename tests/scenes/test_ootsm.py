"""The two stages: prompts, losses by hand, shared prompts, probabilities, learning, files."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from backcast.cli import main
from backcast.core.errors import BadInput
from backcast.scenes.counts import Persistence, forecast_all
from backcast.scenes.problems import ACTION_GENOME, Clip, Clips, Frame, Group, Vocabulary, write_clips
from backcast.scenes.problems.household import make_household
from backcast.scenes.score import Rules, metric, tally

torch = pytest.importorskip("torch")

from backcast.scenes.ootsm import Adapting, Settings, TwoStage, fit  # noqa: E402
from backcast.scenes.ootsm.decoder import Decoder  # noqa: E402
from backcast.scenes.ootsm.encode import ABSENT, BESIDE, Encoder  # noqa: E402
from backcast.scenes.ootsm.losses import (  # noqa: E402
    horizon_weights,
    labelling_loss,
    probabilities,
    soft_transitions,
    transition_prior,
    weighted_mean,
)
from backcast.scenes.ootsm.mixing import Mixture, cells, mix_weights, mixed  # noqa: E402
from backcast.scenes.ootsm.samples import Sample, cut_samples, pad  # noqa: E402

WORDS = Vocabulary(("a", "b", "c"), (Group("g", ("p", "q"), arity="one"), Group("h", ("r", "s"), allow_empty=True)))


def frames(*graphs):
    return tuple(Frame(10 * t, graph) for t, graph in enumerate(graphs))


def test_prompts():
    """Runs of equal graphs are one; their order of objects does not matter; absence is said."""
    encoder = Encoder(WORDS)
    seen = frames({0: (0,), 1: (1, 2)}, {1: (1, 2), 0: (0,)}, {0: (1,)})
    a, b, p, q, r = encoder.thing(0), encoder.thing(1), encoder.predicate(0), encoder.predicate(1), encoder.predicate(2)
    assert encoder.scene(seen) == [encoder.age(1), a, p, b, q, r, encoder.age(0), a, q]
    assert encoder.object(seen, 0) == [a, BESIDE, encoder.age(1), p, encoder.age(0), q]
    assert encoder.object(seen, 1) == [b, BESIDE, a, q, encoder.age(1), q, r, encoder.age(0), ABSENT]
    assert encoder.object(seen, 2) == [encoder.thing(2), BESIDE, a, q, encoder.age(0), ABSENT]
    tokens = [encoder.ahead(h) for h in range(1, 40)] + [encoder.age(0), encoder.age(50), a, encoder.predicate(3)]
    assert min(tokens) > 0
    assert max(tokens) == encoder.size - 1


def test_long_prompts_lose_the_oldest():
    """The newest run always stays, the oldest go first."""
    seen = frames(*({0: (t % 2,)} for t in range(50)))
    prompt = Encoder(WORDS, limit=12).scene(seen)
    assert len(prompt) <= 12
    assert prompt[-3:] == Encoder(WORDS).scene(seen)[-3:]
    one = Encoder(WORDS, limit=2).scene(frames({0: (0,), 1: (1,), 2: (0,)}))
    assert len(one) == 2


def test_horizon_weights_by_hand():
    """Three frames ahead, beta .3: 1, then .7 + .3 (1 + cos(pi / 2)) / 2, then .7; one frame is 1; beta 0 all ones."""
    ahead, last = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[3.0]])
    want = [1.0, 0.7 + 0.3 * 0.5 * (1 + math.cos(math.pi / 2)), 0.7]
    assert horizon_weights(ahead, last, 0.3)[0].tolist() == pytest.approx(want)
    assert horizon_weights(ahead, last, 0.0)[0].tolist() == [1, 1, 1]
    assert horizon_weights(torch.tensor([[1.0]]), torch.tensor([[1.0]]), 0.3)[0].tolist() == [1]


def test_recorded_spans_weigh_the_right_targets():
    """Weights follow the frames ahead recorded with each question, however long the prompt: a far error costs less."""
    encoder = Encoder(WORDS)
    seen = frames(*({0: (t % 2,)} for t in range(20)), {0: (0,)}, {1: (0,)}, {2: (0,)})
    (one,) = cut_samples(seen, 19, encoder, np.random.default_rng(0), 1, 3)
    batch = pad([one], encoder)
    weights = batch.real * horizon_weights(batch.ahead, batch.last, 0.3)
    assert len(one.prompt) > len(one.ahead)
    assert weights[0].tolist() == pytest.approx([1.0, 0.85, 0.7])
    assert float(weighted_mean(torch.tensor([[0.0, 0.0, 1.0]]), weights)) == pytest.approx(0.7 / 2.55)


def test_padding_counts_nothing():
    """Samples of unlike lengths in one batch give the losses that they give alone."""
    encoder = Encoder(WORDS)
    rng = np.random.default_rng(1)
    samples = [
        Sample([3, 20, 22][: n + 1], list(range(1, n + 2)), np.eye(4)[rng.integers(0, 4, n + 1)], 5, 0)
        for n in range(3)
    ]
    decoder = Decoder(encoder.size).eval()

    def loss(some):
        batch = pad(some, encoder)
        logits = decoder(batch.prompt, batch.questions)[..., encoder.predicate(0) :]
        return labelling_loss(logits, batch.truth, batch.real, WORDS).item(), batch.real.sum().item()

    alone = [loss([one]) for one in samples]
    together, questions = loss(samples)
    assert together == pytest.approx(sum(value * n for value, n in alone) / questions, abs=1e-5)


def test_shared_prompt():
    """Many questions at once equal one at a time, and a batch of prompts equals each alone."""
    torch.manual_seed(0)
    decoder = Decoder(40).eval()
    prompts = [torch.randint(1, 40, (n,)) for n in (3, 9, 6, 1)]
    questions = torch.randint(1, 40, (4, 5))
    padded = torch.nn.utils.rnn.pad_sequence(prompts, batch_first=True)
    with torch.no_grad():
        together = decoder(padded, questions)
        for i, prompt in enumerate(prompts):
            for j in range(5):
                alone = decoder(prompt[None], questions[i : i + 1, j : j + 1])[0, 0]
                assert torch.allclose(together[i, j], alone, atol=1e-4)


def test_transition_prior():
    """0 where predicted and observed tables agree, positive where they differ, by hand for one."""
    observed = torch.tensor([[[0.4, 0.1], [0.1, 0.4]]])
    assert float(transition_prior(observed * 7, observed)) == pytest.approx(0, abs=1e-6)
    flat = torch.full((1, 2, 2), 0.25)
    want = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)
    assert float(transition_prior(flat, observed)) == pytest.approx(want, abs=1e-6)
    counts = soft_transitions(torch.tensor([[1.0]]), torch.tensor([[0.25]]), torch.tensor([2.0]))
    assert counts.tolist() == [[[0.0, 0.0], [1.5, 0.5]]]


def test_probabilities():
    """A one-of group sums to one, whatever labels share letters; inclusion of the others is their own."""
    logits = torch.randn(3, 26)
    p = probabilities(logits, ACTION_GENOME)
    assert torch.allclose(p[:, :3].sum(-1), torch.ones(3))
    assert torch.allclose(p[:, 3:], logits[:, 3:].sigmoid())
    assert probabilities(logits, ACTION_GENOME).equal(p)


def cycle(count, seed):
    """Clips in which the next object follows from the two before: a, b, c or c, b, a for ever."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        way, place = int(rng.choice([-1, 1])), int(rng.integers(3))
        graphs = [
            {(place + way * t) % 3: (t % 2, *((2,) if t % 3 == 0 else ()))} for t in range(int(rng.integers(5, 10)))
        ]
        made.append(Clip(f"{seed}-{i}", frames(*graphs)))
    return Clips(WORDS, tuple(made))


@pytest.fixture(scope="module")
def fitted():
    """Two stages on clips whose future follows from two frames, not from the last alone."""
    return fit(cycle(60, 1), Settings(parts=3, steps=150, batch=16, width=32, fraction=0.5))


@pytest.mark.method(6, proves="learns what counts cannot")
def test_learns_what_counts_cannot(fitted):
    """Which way the circle turns is in the past, not in the last frame: the network forecasts it, counts cannot."""
    from backcast.scenes.forecast import cases

    asked, _ = cases(cycle(30, 2).clips, 0.5)
    questions = [(case.id, case.seen, case.future) for case in asked]

    def f1(model):
        made = forecast_all(model, questions)
        return float(metric(tally(made, asked, WORDS, Rules(ks=(2,))).total(), "object f1"))

    assert f1(fitted) > 0.9
    assert f1(replace(fitted.markov, appear=0.4, gate=0.4)) < 0.7
    assert f1(Persistence(WORDS)) < 0.5
    assert max(fitted.mixture.shares()["objects that come"]) > 0.5


def test_probabilities_of_a_forecast(fitted):
    """One label of a one-of group in all, everything in [0, 1], an unseen object has predicates too."""
    one = fitted.forecast("x", frames({0: (0,)}, {1: (1,)}), [30, 40])
    assert ((one.objects >= 0) & (one.objects <= 1)).all()
    pure = replace(fitted, mixture=Mixture())
    assert pure.forecast("x", frames({0: (0,)}), [30]).predicates[..., :2].sum(-1) == pytest.approx(
        np.ones((1, 3)), abs=1e-5
    )
    assert one.predicates[:, 2].max() > 0.2


def test_saved_and_loaded(fitted, tmp_path):
    """The folder gives the same forecasts; another folder, or a broken one, is refused."""
    fitted.save(tmp_path / "m")
    again = TwoStage.load(tmp_path / "m")
    seen = frames({0: (0,)}, {1: (1,)})
    a, b = (model.forecast("x", seen, [30, 40]) for model in (fitted, again))
    assert np.array_equal(a.joint, b.joint)
    assert again.known == fitted.known
    with pytest.raises(BadInput, match="is not a model of 'backcast scene fit'"):
        TwoStage.load(tmp_path)


def test_fit_repeats():
    """One seed, one model."""
    clips = cycle(12, 3)
    one, two = (fit(clips, Settings(parts=2, steps=3, width=16)) for _ in range(2))
    seen = clips.clips[0].frames[:2]
    assert np.array_equal(one.forecast("x", seen, [50]).joint, two.forecast("x", seen, [50]).joint)


def test_command_line(tmp_path, capsys):
    """fit, forecast and score by folder; a clip that was fitted on is not scored; settings are checked."""
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    write_clips(train, make_household(12, seed=1))
    write_clips(test, make_household(6, seed=2))
    model = str(tmp_path / "model")
    assert (
        main(["scene", "fit", str(train), "--out", model, "--steps", "2", "--parts", "2", "--width", "16", "--json"])
        == 0
    )
    made = json.loads(capsys.readouterr().out)
    assert (made["clips"], made["model"]) == (12, "tiny")
    assert main(["scene", "score", str(test), "--model", model, "--train", str(train), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["videos"], found["model"]) == (6, model)
    assert set(found["differences"]) == {"persistence", "markov", "markov+appearance", "knn"}
    assert (
        main(["scene", "forecast", str(test), "--model", model, "--horizon", "0.5", "--out", str(tmp_path / "f.jsonl")])
        == 0
    )
    capsys.readouterr()
    for words, said in (
        (["score", str(train), "--model", model], "was fitted on clip"),
        (["fit", str(train), "--out", model], "holds a model already"),
        (["fit", str(train), "--out", model + "2", "--beta", "2"], "beta 2.0: give a number from 0 to 1"),
        (["fit", str(train), "--out", model + "2", "--horizon", "1"], "between 0 and 1"),
    ):
        assert main(["scene", *words]) == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1


def test_calibration_by_hand():
    """Chances too sure of themselves are drawn in, right ones stay, and without held-out cases nothing changes."""
    from backcast.scenes.ootsm.calibrating import line

    rng = np.random.default_rng(0)
    real = rng.uniform(0.05, 0.95, 20_000)
    truth = rng.random(20_000) < real
    slope, shift = line(real, truth)
    assert (slope, shift) == pytest.approx((1, 0), abs=0.05)
    logit = np.log(real / (1 - real))
    sure = 1 / (1 + np.exp(-(3 * logit - 1)))
    slope, shift = line(sure, truth)
    assert (slope, shift) == pytest.approx((1 / 3, 1 / 3), abs=0.05)
    assert line(np.zeros(0), np.zeros(0)) == (1.0, 0.0)


def test_calibrated_forecasts(fitted):
    """The order of objects stays under one line, one-of groups sum to one, the impossible stays impossible."""
    from backcast.scenes.ootsm.calibrating import CELLS, Calibration, calibrated

    one = fitted.forecast("x", frames({0: (0,)}, {1: (1,)}), [30, 40])
    cell = cells(2, Frame(10, {1: (1,)}), WORDS)
    assert cell.tolist() == [[0, 4, 0], [1, 5, 1]]
    assert calibrated(one, Calibration(), cell, WORDS) is one
    how = Calibration(((0.5, 0.2),) * CELLS, (((2.0, -0.1),) * CELLS, ((0.7, 0.3),) * CELLS))
    two = calibrated(one, how, cell, WORDS)
    assert (one.objects.argsort(1) == two.objects.argsort(1)).all()
    assert two.predicates[..., :2].sum(-1) == pytest.approx(np.ones((2, 3)))
    p = one.predicates[0, 0, 2]
    assert two.predicates[0, 0, 2] == pytest.approx(1 / (1 + np.exp(-(0.7 * np.log(p / (1 - p)) + 0.3))))
    zero = replace(one, objects=one.objects * np.array([1.0, 1.0, 0.0]))
    assert (calibrated(zero, how, cell, WORDS).objects[:, 2] == 0).all()
    assert fitted.mixture.calibration.predicates


def test_calibration_that_does_not_carry_over_is_left_out():
    """Chances that are wrong alike in all clips are mended; wrong by chance, or right, they stay as they are."""
    from backcast.scenes.forecast import GraphForecast
    from backcast.scenes.ootsm.calibrating import calibrate

    rng = np.random.default_rng(1)

    def drawn(clips, bend):
        made, truths = [], []
        for n in range(clips):
            p = rng.uniform(0.1, 0.9, (6, 3))
            present = rng.random((6, 3)) < p
            held = rng.random((6, 3, 4)) < 0.5
            made.append(GraphForecast(str(n), np.arange(6), bend(p), np.full((6, 3, 4), 0.5), present))
            truths.append((present, held))
        return calibrate(made, truths, [np.zeros((6, 3), int)] * clips, WORDS)

    bent = drawn(80, lambda p: p**3)
    assert bent.objects[0][0] != 1
    right = drawn(6, lambda p: p)
    assert right.objects == ((1.0, 0.0),) * 8


def test_mixture_finds_who_knows():
    """A source that is right about objects that come, one about those that stay: each has its cells; one by hand."""
    from backcast.scenes.forecast import Case, GraphForecast

    rng = np.random.default_rng(0)
    made, asked = [], []
    for n in range(60):
        last = Frame(0, {int(o): (0,) for o in rng.choice(3, 1)})
        future = tuple(Frame(t + 1, {int(o): (0,) for o in np.flatnonzero(rng.random(3) < 0.5)}) for t in range(4))
        true = np.array([[o in frame.objects for o in range(3)] for frame in future])
        was = np.array([o in last.objects for o in range(3)])
        sure, flat = np.where(true, 0.9, 0.1), np.full((4, 3), 0.5)
        labels = np.tile([0.9, 0.1, 0.2, 0.2], (4, 3, 1))
        index = np.arange(1, 5)
        pair = [np.where(was, flat, sure), np.where(was, sure, flat)]
        made.append(tuple(GraphForecast(str(n), index, p, labels, true) for p in pair))
        asked.append(Case(str(n), (last,), future))
    found = mix_weights(made, asked, WORDS)
    weights = np.array(found.objects)
    assert weights.sum(1) == pytest.approx(np.ones(8), abs=1e-3)
    assert (weights[:3, 0] > 0.98).all()
    assert (weights[4:7, 1] > 0.98).all()
    assert weights[3].tolist() == [0.5, 0.5]  # nothing is 9 frames ahead
    one = mixed(made[0], asked[0].seen[-1], found, WORDS)
    assert (one.listed == made[0][0].listed).all()
    plain = replace(found, calibration=Mixture().calibration, objects=((0.25, 0.75),) * 8)
    want = 0.25 * made[0][0].objects + 0.75 * made[0][1].objects
    assert mixed(made[0], asked[0].seen[-1], plain, WORDS).objects == pytest.approx(want)


def test_buckets():
    """Rows of like length side by side give the logits of all rows side by side."""
    torch.manual_seed(0)
    decoder = Decoder(40).eval()
    prompts = [torch.randint(1, 40, (n,)) for n in (3, 9, 6, 1, 30, 2, 17)]
    asked = [torch.randint(1, 40, (n,)) for n in (1, 4, 2, 9, 3, 3, 1)]
    prompt, questions = (torch.nn.utils.rnn.pad_sequence(rows, batch_first=True) for rows in (prompts, asked))
    with torch.no_grad():
        plain, found = decoder(prompt, questions), decoder.in_buckets(prompt, questions, 3)
    real = questions != 0
    assert torch.allclose(found[real], plain[real], atol=1e-5)
    assert decoder.in_buckets(prompt[:1], questions[:1]).shape == plain[:1].shape


def test_members_forecast_what_they_have_not_seen():
    """The mixture of a fit is that of every part forecast by a model fitted without it."""
    from backcast.scenes.counts import Neighbours
    from backcast.scenes.forecast import cases
    from backcast.scenes.problems import folds

    clips = cycle(12, 4)
    settings = Settings(parts=3, steps=3, width=16, fraction=0.5)
    model = fit(clips, settings)
    made, asked = [], []
    for k, part in enumerate(folds(clips.clips, 3, 0)):
        rest = Clips(WORDS, tuple(clip for i, clip in enumerate(clips.clips) if i not in set(part)))
        blind = replace(model, listing=model.listing[k : k + 1], labelling=model.labelling[k : k + 1],
                        knn=Neighbours.fit(rest))  # fmt: skip
        mine, _ = cases([clips.clips[i] for i in part], 0.5)
        asked += mine
        made += [blind.answers(case.id, case.seen, [frame.index for frame in case.future]) for case in mine]
    assert mix_weights(made, asked, WORDS) == model.mixture


@pytest.mark.parametrize(
    ("made", "given", "said"),
    [
        (Settings, {"steps": 0}, "steps 0: give at least 1"),
        (Settings, {"width": 30}, "width 30: give a multiple of 4"),
        (Settings, {"parts": 1}, "parts 1: give 2 or more"),
        (Settings, {"dropout": 1.0}, "dropout 1.0: give a number from 0 to below 1"),
        (Settings, {"transition": -1.0}, "transition -1.0: give 0 or more"),
        (Adapting, {"held_out": 0}, "held-out 0: give at least 1"),
        (Adapting, {"beta": 1.5}, "beta 1.5: give a number from 0 to 1"),
        (Adapting, {"rate": float("nan")}, "rate nan: give a number above 0"),
    ],
)
def test_settings_that_cannot_be(made, given, said):
    """The setting, its value, and what to give."""
    with pytest.raises(ValueError, match=said):
        made(**given)
