"""What must never happen: foreign pickles loaded, a model's code run, a server open to all, markup obeyed."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backcast

SOURCE = Path(backcast.__file__).parent
ROOT = Path(__file__).parents[1]
READER = "scenes/problems/unpickle.py"
"""The one file that may read a pickle from outside: it refuses every class that is not plain data."""
OWN = ("core/cluster.py", "learn/ranks.py")
"""Bytes that one of our processes made and another of the same run opens; never a file."""


def calls():
    """(file, dotted name of what is called, the call) of every call in the package."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield path.relative_to(SOURCE).as_posix(), ast.unparse(node.func), node


def keyword(call, name):
    """The source of a keyword argument; None where it is not given by name."""
    return next((ast.unparse(word.value) for word in call.keywords if word.arg == name), None)


def test_nothing_is_unpickled_but_by_the_restricted_reader():
    """No loader of pickles by any of its names but of bytes between our own processes, and arrays without objects."""
    loaders = r"(c?[pP]ickle|dill|cloudpickle|joblib|marshal|shelve|pd|pandas)\.(loads?|Unpickler|open|read_pickle)"
    found = [(file, name) for file, name, _ in calls() if re.fullmatch(loaders, name) and file != READER]
    assert [(file, name) for file, name in found if file not in OWN or not name.endswith("pickle.loads")] == []
    imports = [
        file.relative_to(SOURCE).as_posix()
        for file in sorted(SOURCE.rglob("*.py"))
        if re.search(r"^\s*(import|from) (pickle|dill|shelve|marshal)\b", file.read_text(), re.MULTILINE)
    ]
    assert set(imports) <= {READER, *OWN}
    loads = [(file, keyword(call, "allow_pickle")) for file, name, call in calls() if name in ("np.load", "numpy.load")]
    assert loads
    assert [file for file, allowed in loads if allowed not in (None, "False")] == []


def test_torch_loads_weights_only():
    """Each ``torch.load`` says so by name."""
    found = [(file, keyword(call, "weights_only")) for file, name, call in calls() if name == "torch.load"]
    assert found
    assert [file for file, only in found if only != "True"] == []


def test_no_string_becomes_code():
    """No ``eval`` or ``exec``, no shell, no YAML that makes objects."""
    names = [(file, name) for file, name, call in calls() if name in ("eval", "exec", "os.system", "yaml.load")]
    assert names == []
    assert [file for file, _, call in calls() if keyword(call, "shell") == "True"] == []


def test_no_models_code_is_run_or_asked_about():
    """Every loader of transformers is told so, by name or in a dictionary; nobody is ever told the other."""
    found = [
        (file, name, call)
        for file, name, call in calls()
        if name.endswith(".from_pretrained") and not name.startswith("PeftModel")
    ]
    assert len(found) > 8
    quiet = [
        (file, ast.unparse(call))
        for file, _, call in found
        if keyword(call, "trust_remote_code") != "False" and all(word.arg is not None for word in call.keywords)
    ]
    assert quiet == []
    everything = "".join(path.read_text() for path in SOURCE.rglob("*.py"))
    assert re.findall(r"trust_remote_code\W{1,4}(?!False)(\w+)", everything) == []


@pytest.fixture
def booby_trapped(tmp_path):
    """A model folder that brings its own classes, which leave a mark when they are imported."""
    folder = tmp_path / "trap"
    folder.mkdir()
    mark = tmp_path / "ran"
    code = f"open({str(mark)!r}, 'w')\nclass Trap:\n    pass\n"
    (folder / "modeling_trap.py").write_text(code)
    (folder / "configuration_trap.py").write_text(code)
    config = {"model_type": "trap", "architectures": ["Trap"]}
    config["auto_map"] = {"AutoConfig": "configuration_trap.Trap", "AutoModelForCausalLM": "modeling_trap.Trap"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    (folder / "tokenizer.json").write_text("{}")
    return folder, mark


@pytest.mark.parametrize("verb", ["judge", "compress", "run"])
def test_a_folder_with_code_of_its_own_is_refused(booby_trapped, tmp_path, verb):
    """One line that says why, exit code 2; the code did not run."""
    folder, mark = booby_trapped
    (tmp_path / "q.jsonl").write_text('{"question": "Which?", "options": ["a", "b"], "answer": "A"}\n')
    (tmp_path / "p.jsonl").write_text('{"prompt": "1 + 1 =", "answer": "2"}\n' * 1)
    words = {
        "judge": ["judge", folder, "--on", tmp_path / "q.jsonl"],
        "compress": ["compress", folder, "--method", "rtn", "--bits", "4", "--out", tmp_path / "out"],
        "run": ["run", "wgm", "--model", folder, "--out", tmp_path / "run"],
    }[verb]
    done = subprocess.run([sys.executable, "-m", "backcast", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "never run here" in done.stderr
    assert not mark.exists()


def test_the_pages_say_so():
    page = (ROOT / "docs" / "how-to" / "own-model.md").read_text()
    assert "Code that comes with a model is never run" in page
    assert "`weights_only`" in page


def test_the_server_listens_on_this_machine_unless_told():
    """The default host is loopback and reaches every engine's command; another host is said on stderr."""
    from backcast.cli.serve import LOOPBACK, Options
    from backcast.lm.serving.choice import ENGINES, Choice

    assert Options(model="x").host in LOOPBACK
    for engine in ENGINES:
        command = Choice(engine, Path("x")).command("name", "127.0.0.1", 1, ())
        assert command.count("127.0.0.1") == 1
        assert "0.0.0.0" not in command


EVIL = st.one_of(
    st.sampled_from(
        ["<script>x()</script>", "</script><script>x()</script>", "<img src=x onerror=x()>", "'\"><b>", "<!--"]
    ),
    st.text(min_size=1, max_size=30).map(lambda text: f"<script>{text}</script>"),
)


def hostile(html, ours):
    """Elements of a page that its template does not have; the texts of scripts and styles are not markup."""
    bare = re.sub(r"(?s)<(script|style)\b[^>]*>.*?</\1>", "", html)
    return set(re.findall(r"<([a-zA-Z!][\w-]*)", bare)) - ours | ({"script in text"} if "<script>x" in bare else set())


@given(EVIL)
@settings(max_examples=25)
def test_no_page_obeys_what_a_model_wrote(evil):
    """Look page, plan, timeline and the drawings: with hostile text in every field they hold the same elements as
    with harmless text, and as many scripts."""
    harmless, nasty = pages("plain words"), pages(evil)
    for name, text in nasty.items():
        ours = set(re.findall(r"<([a-zA-Z!][\w-]*)", harmless[name]))
        assert hostile(text, ours) == set(), name
        assert len(re.findall(r"<script\b", text)) == len(re.findall(r"<script\b", harmless[name])), name


def pages(text):
    """Every kind of page but the report, with ``text`` in all fields."""
    from backcast.report import look, plane
    from backcast.report.bars import Bar, bars
    from backcast.scenes.counts import Persistence
    from backcast.scenes.problems import Frame, Group, Vocabulary
    from backcast.scenes.timeline import page

    picture = look.Picture(text, "data:,", 9, 9, text, (look.Mark(text, 1, 1, 2, 2, 0),))
    told = look.LookPage(text, text, [(text, text)], [picture], [look.Step(text, (text,), (text,))], text, text)
    points = [plane.Point(text, 2.0, 0.1), plane.Point(text, 3.0, 0.2)]
    plan = plane.Plane(text, text, text, text, points, [(2.0, 0.1), (3.0, 0.2)], points[0], [text], [[text]])
    # Names of a vocabulary hold no separators: those are refused when it is made.
    name = "".join(char for char in text if char.isprintable() and char not in ",;:").strip() or "<script>x"
    words = Vocabulary((name,), (Group(name, (name + "1",)),))
    frames = (Frame(1, {0: (0,)}), Frame(2, {0: (0,)}))
    forecast = Persistence(words).forecast(text, frames[:1], [2])
    return {
        "look": look.page(told),
        "plan": plane.page(plan),
        "timeline": page(forecast, frames[:1], words, frames[1:]),
        "bars": bars(text, [Bar(text, 2.0, 1.0, text)]),
    }


def test_the_report_of_a_hostile_run_has_our_scripts_only(tmp_path):
    """Traces of a model that writes markup: the elements of the report are those of a tame run."""
    from dataclasses import replace

    from backcast.report import write_report
    from tests.report.sample import build, make_traces

    tame = write_report(build(tmp_path / "tame")).read_text()
    traces = [replace(trace, outcome="<script>x()</script>", data=_poisoned(trace.data)) for trace in make_traces(3)]
    wild = write_report(build(tmp_path / "wild", traces)).read_text()
    assert hostile(wild, set(re.findall(r"<([a-zA-Z!][\w-]*)", tame))) == set()
    assert len(re.findall(r"<script\b", wild)) == len(re.findall(r"<script\b", tame))


def _poisoned(value):
    if isinstance(value, dict):
        return {key: _poisoned(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_poisoned(inner) for inner in value]
    return value + "</script><script>x()</script>" if isinstance(value, str) and " " in value else value
