"""The viewer of looking: what the page keeps of a trace, and what goes first when room is short."""

from backcast.core.problem import Score
from backcast.core.trace import Trace, TraceLog
from backcast.report.traces import Source, choose
from backcast.report.viewers import viewer_of

URL = "data:image/jpeg;base64," + "A" * 40_000


def looked(number, value):
    data = {
        "prompt": "Which digit?",
        "answer": "7",
        "known": "7",
        "calls": 1,
        "changed": True,
        "given": 1,
        "errors": [],
        "turns": [
            {"role": "user", "pieces": [["Image 1: [image] Which?", False]]},
            {"role": "assistant", "pieces": [["look", True], [" again", False]]},
        ],
        "images": [{"url": URL, "width": 300, "height": 200}],
        "right": [1, 2, 3, 4],
        "views": [{"number": 2, "source": 0, "box": [0, 0, 9, 9], "about": "image 1 at [..]", "url": URL}],
    }
    return Trace(f"p{number}#0", f"p{number}", "look", "7", Score(value, reference=1.0), data)


def test_what_is_kept():
    slim = viewer_of("look").slim(looked(0, 1.0), 2_000)
    assert slim["turns"][1]["pieces"] == [["look", True], [" again", False]]
    assert slim["views"][0]["box"] == [0, 0, 9, 9]
    assert (slim["shownIn"], slim["given"], slim["right"]) == (0, 1, [1, 2, 3, 4])
    assert viewer_of("warm").script == viewer_of("look").script == "look.js"


def test_pictures_go_before_the_words(tmp_path):
    TraceLog(tmp_path / "traces.jsonl").append([looked(n, float(n % 2)) for n in range(6)])
    source = [Source("warm", tmp_path / "traces.jsonl")]
    (whole,), _ = choose(source)
    assert all(trace["images"] and trace["views"] for trace in whole.traces)
    (short,), _ = choose(source, budget=60_000)
    assert not any(trace["images"] or trace["views"] for trace in short.traces)
    assert all(trace["turns"][1]["pieces"][0][0] == "look" for trace in short.traces)


def test_ends_are_named_by_the_viewer(tmp_path):
    traces = [looked(n, None) for n in range(6)]
    traces = [
        Trace(t.id, t.problem, "warm", None, t.score, {**t.data, "turns": t.data["turns"] * (n + 1)})
        for n, t in enumerate(traces)
    ]
    TraceLog(tmp_path / "traces.jsonl").append(traces)
    (shown,), _ = choose([Source("traces", tmp_path / "traces.jsonl")])
    assert [trace["why"] for trace in shown.traces] == ["shortest"] * 2 + ["between"] * 2 + ["longest"] * 2
