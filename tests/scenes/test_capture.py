"""From pixels: graphs of frames by a model that sees, here under the grammar, served by free text; noise, its cost."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from backcast.cli import main
from backcast.scenes.problems import ACTION_GENOME, Clip, Clips, Frame, Group, Vocabulary, read_clips, write_clips
from backcast.scenes.problems.household import make_household
from backcast.scenes.problems.noise import noisy
from backcast.scenes.render import read_graph

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")

from backcast.lm.base import Prompt, Scoring  # noqa: E402
from backcast.lm.local_sight import LocalSight  # noqa: E402
from backcast.lm.sight import Turn  # noqa: E402
from backcast.lm.sight_scores import SightScores  # noqa: E402
from backcast.scenes.capture import capture  # noqa: E402

WORDS = Vocabulary(
    ("cup", "table"), (Group("look", ("at", "away"), arity="one"), Group("touch", ("holding", "on"), allow_empty=True))
)


def picture(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def eyes(tmp_path_factory):
    """(folder, model) of a random tiny vision-language model."""
    from backcast.lm.tiny import make_tiny_vlm

    folder = make_tiny_vlm(tmp_path_factory.mktemp("vlm") / "tiny")
    return folder, LocalSight.open(folder)


def test_scores_behind_pictures(eyes):
    """Continuations behind a shared picture score as each text with its picture does; the picture matters."""
    prompts = [Prompt((("user", str(n)),)) for n in range(2)]
    scorer = SightScores(eyes[1], {prompt: [Turn("user", (picture(n), "What?"))] for n, prompt in enumerate(prompts)})
    items = [Scoring(p, ("Frame 0: cup, table\n", "Frame 0: cup\n", "Frame 0: nothing\n"), (9, 9, 3)) for p in prompts]
    found = scorer.logprobs(items)
    for item, row in zip(items, found, strict=True):
        for one, other in zip(row, scorer.logprobs_naive(item), strict=True):
            assert one.offsets == other.offsets
            assert np.allclose(one.logprobs, other.logprobs, atol=1e-4)
    assert abs(found[0][0].logprobs - found[1][0].logprobs).max() > 0.1


def test_a_local_model_under_the_grammar(eyes):
    """Probabilities of every object; what is likely stands with valid labels; nothing needs mending."""
    found = capture(eyes[1], "x", [(n, n / 2, picture(n)) for n in (3, 7)], WORDS, threshold=0.3)
    assert [frame.index for frame in found.clip.frames] == [3, 7]
    assert [frame.time_s for frame in found.clip.frames] == [1.5, 3.5]
    assert not found.mended
    assert found.detected.objects.shape == (2, 2)
    assert 0 < found.detected.objects.min() <= found.detected.objects.max() <= 1
    held = [(t, o) for t, frame in enumerate(found.clip.frames) for o in frame.objects]
    assert held == [(t, o) for t, o in np.argwhere(found.detected.objects > 0.3).tolist()]
    for t, o in held:
        assert found.detected.predicates[t, o, :2].sum() == pytest.approx(1, abs=1e-5)
        assert sum(r < 2 for r in found.clip.frames[t].objects[o]) == 1


def test_free_answers():
    """A graph from free text: exact structures, and what had to be mended."""
    text = """Here you are:
- Cup: at; holding, on
- table: look: away, at
- chair: at; on
- cup: away; None"""
    graph, mended = read_graph(text, WORDS)
    assert graph == {0: (1,), 1: (0,)}
    assert mended == {
        "prose": 1,
        "unknown names": 1,
        "second labels": 1,
        "objects given twice": 1,
        "long form": 1,
    }
    assert read_graph("nothing", WORDS) == ({}, {})
    assert read_graph("- table: holding", WORDS)[1] == {"objects without a label": 1}


class Free(BaseHTTPRequestHandler):
    """A server that sees nothing and says one of two things."""

    answers = ("- cup: at; holding", "A cup, I think.")
    asked = 0

    def _send(self, body):
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self._send({"object": "list", "data": [{"id": "eyes", "object": "model"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        parts = body["messages"][-1]["content"]
        assert [part["type"] for part in parts] == ["image_url", "text"]
        bright = len(parts[0]["image_url"]["url"]) > 1000
        message = {"role": "assistant", "content": self.answers[0 if bright else 1]}
        self._send(
            {
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 9, "completion_tokens": 9},
            }
        )

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    http = ThreadingHTTPServer(("127.0.0.1", 0), Free)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}/v1#eyes"
    http.shutdown()
    http.server_close()


def test_command_line(eyes, server, tmp_path, capsys):
    """A folder of frames by a local and by a served model; numbers from names; what can not be is refused."""
    words, out, frames = tmp_path / "words.jsonl", tmp_path / "seen.jsonl", tmp_path / "kitchen"
    write_clips(words, Clips(WORDS, (Clip("a", (Frame(0, {0: (0,)}),)),)))
    frames.mkdir()
    for n, image in ((5, picture(0)), (30, Image.new("RGB", (32, 24)))):
        image.save(frames / f"frame_{n}.png")

    def call(*options):
        code = main(["scene", "capture", str(frames), "--words", str(words), "--to", str(out), *map(str, options)])
        return code, capsys.readouterr()

    code, said = call("--model", eyes[0], "--scores", tmp_path / "scores", "--json")
    assert code == 0
    found = json.loads(said.out)
    assert (found["frames"], found["constrained"], found["failures"], found["mended"]) == (2, True, 0, {})
    with np.load(tmp_path / "scores" / "kitchen.npz") as file:
        assert file["index"].tolist() == [5, 30]
    code, said = call("--model", server, "--id", "again", "--json")
    assert code == 0
    found = json.loads(said.out)
    assert (found["constrained"], found["failures"], found["objects"]) == (False, 1, 1)
    assert found["mended"] == {"prose": 1}
    clips = read_clips(out)
    assert [clip.id for clip in clips.clips] == ["kitchen", "again"]
    assert clips.clips[1].frames[0] == Frame(5, {0: (0, 2)})
    for options, word in (
        (("--model", server, "--id", "again"), "holds a clip 'again' already"),
        (("--model", server, "--id", "b", "--scores", tmp_path / "s"), "no log-probabilities"),
        (("--model", server, "--id", "c", "--threshold", 2), "between 0 and 1"),
    ):
        code, said = call(*options)
        assert code == 2
        assert word in said.err
        assert said.err.count("\n") == 1


def test_noise_is_what_it_says():
    """A seeded share of the objects is spoilt, in three ways; none at 0; graphs stay valid."""
    clips = make_household(20, seed=3)
    assert noisy(clips, 0.0).clips == clips.clips
    one, two = noisy(clips, 0.3, seed=1), noisy(clips, 0.3, seed=1)
    assert one.clips == two.clips
    frames = [[frame for clip in which.clips for frame in clip.frames] for which in (clips, one)]
    pairs = list(zip(*frames, strict=True))
    every = sum(len(a.objects) for a, _ in pairs)
    missed = sum(o not in b.objects for a, b in pairs for o in a.objects)
    added = sum(o not in a.objects for a, b in pairs for o in b.objects)
    mistaken = sum(o in b.objects and b.objects[o] != held for a, b in pairs for o, held in a.objects.items())
    assert missed / every == pytest.approx(0.2, abs=0.04)
    assert added / every == pytest.approx(0.1, abs=0.03)
    assert mistaken / every == pytest.approx(0.1, abs=0.03)
    attention = ACTION_GENOME.slices[0]
    assert all(sum(r < attention.stop for r in held) == 1 for _, b in pairs for held in b.objects.values())


def test_clean_beside_captured(tmp_path, capsys):
    """One table: forecasts from clean graphs and from noisy ones, scored against the same clean future."""
    clips = make_household(12, seed=4)
    clean, seen = tmp_path / "clean.jsonl", tmp_path / "seen.jsonl"
    write_clips(clean, clips)
    write_clips(seen, noisy(clips, 0.4, seed=2))
    words = ["scene", "score", str(clean), "--model", "persistence", "--seen", str(seen)]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    captured = found["captured"]["models"]["persistence"]
    assert captured["frames"] == found["frames"]
    assert captured["modes"]["with"]["R@10"] < found["modes"]["with"]["R@10"] - 0.05
    difference = found["captured"]["differences"]["persistence"]["with R@10"]
    assert difference["value"] == pytest.approx(captured["modes"]["with"]["R@10"] - found["modes"]["with"]["R@10"])
    assert difference["high"] < 0
    assert main(words) == 0
    assert "in place of the clean graphs" in capsys.readouterr().out
    write_clips(seen, Clips(clips.vocabulary, noisy(clips, 0.4).clips[:3]))
    assert main(words) == 2
    assert "no captured frame of clip" in capsys.readouterr().err
