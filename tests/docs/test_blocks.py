"""Every code block of the documentation is run, in a folder with files of the names that the pages use."""

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backcast import cli
from tests.docs import pages
from tests.routing.test_docs import write_solomon

pytestmark = pytest.mark.skipif(not (pages.ROOT / "docs").is_dir(), reason="no docs beside the tests")

TRAIN = "--train.warm 60 --train.steps 2 --train.prompts 2 --train.measured 8 --train.longest 24 --train.lora 0"
SEARCH = "--search.max-steps 1 --search.expansions 1 --search.proposal-tokens 8 --search.batch 2"
SMALLER = {
    "backcast compress": "",
    "backcast curate": "--answers 2 --answer-tokens 8",
    "backcast game gap": "--seeds 1 --steps 3000",
    "backcast judge": "--limit 4",
    "backcast reason": "--max-steps 1 --expansions 1 --proposal-tokens 8 --max-overlap 1",
    "backcast route ablate": "--iterations 200",
    "backcast route solve": "--seconds 1",
    "backcast route train": "--minutes 0.05 --size 20",
    "backcast run alphamed": f"{TRAIN} --curation.answers 2 --curation.answer-tokens 8 --judging.limit 4",
    "backcast run games": "--seeds 1 --steps 3000",
    "backcast run hicra": f"{TRAIN} --no-control",
    "backcast run ootsm": "--fit.steps 3 --fit.width 16",
    "backcast run pixel": "--dry-run",
    "backcast run rethinker": f"{TRAIN} --no-control",
    "backcast run routing": "--seconds 1",
    "backcast run splitquant": "--windows 2 --context 128",
    "backcast run story": f"{SEARCH} --search.max-overlap 1 --search.last-share none --sft.samples 1 "
    "--sft.sample-tokens 8 --judging.thinking-tokens 8 --validation 1 --grpo.steps 1 --grpo.prompts 1 --grpo.group 4 "
    "--grpo.micro 4 --grpo.longest 8 --grpo.measured 2 --grpo.lora 4 --answers 1 --sft.epochs 0.2 --sft.max-length 256",
    "backcast run study": "--dry-run",
    "backcast run wgm": "--windows 2 --context 128",
    "backcast scene convert household": "--count 30",
    "backcast scene fit": "--steps 3",
    "backcast serve": "--check --port 0",
}
"""What makes a command small enough for a test; behind a page's own flags, and the last one counts."""

NEEDS = (
    "needs a GPU",
    "needs a server",
    "needs the network",
    "needs minutes",
    "needs hours",
    "needs files of yours",
    "needs an extra",
)
"""Why a command may be left out; anything else must run."""


@pytest.fixture
def place(tmp_path, monkeypatch, tiny_llama):
    """A folder with every file that the pages name; the models are tiny."""
    monkeypatch.chdir(tmp_path)
    texts = [
        "The river rises.\n\nIt runs past the mill.\n\nIt meets the sea.",
        "Mix flour.\n\nWait, then fold the dough.",
    ]
    pairs = [{"id": f"t{i}", "prompt": f"Write text {i}.", "answer": texts[i % 2]} for i in range(4)]
    words = ("one", "two", "three", "four", "five", "six", "seven", "eight")
    asked = [{"question": f"Which is {word}?", "options": ["no", word], "answer": "B"} for word in words]
    sums = [{"prompt": f"{n} + 1 =", "answer": str(n + 1), "kind": "numeric"} for n in range(12)]
    bare = [{"text": text} for text in texts]
    for name, rows in {"pairs": pairs, "other": pairs, "texts": bare, "questions": asked, "problems": sums}.items():
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("text.txt").write_text("The sea is wide and the mill is old. " * 200)
    _routes()
    return tmp_path


def _routes():
    from backcast.routing.problems import paper_instance, windowed, write_instance

    write_instance("X-n1001-k43.vrp", paper_instance(200))
    rows = [f"{k},{k * 37 % 101},{k * 53 % 97},{1 + k % 9 if k else 0}" for k in range(60)]
    Path("city.csv").write_text("\n".join(["id,x,y,demand", *rows]) + "\n")
    write_solomon(Path("R101.txt"), windowed(25, np.random.default_rng(0)))


def run(words, model, block):
    """Runs one command of a page: ours in this process, cd here, others as processes."""
    line = " ".join(words)
    where = f"{block.page}:{block.line}: {line}"
    words = [str(model) if word in ("smollm2", "DIR") else word for word in words]
    if words[0] != "backcast":
        if words[0] == "python":
            words[0] = sys.executable
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, f"{where}\n{done.stderr[-1500:]}"
        return
    smaller = max((known for known in SMALLER if line.startswith(known)), key=len, default=None)
    words += SMALLER[smaller].split() if smaller else []
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = cli.main(words[1:])
        except SystemExit as stop:
            code = stop.code
    assert code in (0, None), f"{where}\n{said.getvalue()[-1500:]}"


@pytest.mark.parametrize("page", [page for page in pages.pages() if pages.blocks(page)])
def test_the_blocks_of_a_page_run_in_order(page, place, tiny_llama, monkeypatch):
    """Files are written, commands end with code 0, snippets run; what one block leaves the next one finds."""
    names = {}
    for block in pages.blocks(page):
        if block.file:
            Path(block.file).write_text(block.text)
    for block in pages.blocks(page):
        if block.skip or block.file or block.language == "text":
            continue
        if block.language == "python":
            exec(block.given, names)
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block.text, f"{block.page}:{block.line}", "exec"), names)
        else:
            assert pages.is_shell(block), f"{page}:{block.line}: a '{block.language}' block is neither run nor a file"
            for words, reason in block.commands():
                if words[0] == "cd":
                    monkeypatch.chdir(words[1])
                elif not reason:
                    run(words, tiny_llama, block)


def test_what_is_not_run_says_why_and_is_counted():
    """Each reason is one of the known ones; who leaves out one more command must raise this number."""
    left = [
        (f"{block.page}:{block.line}", reason)
        for page in pages.pages()
        for block in pages.blocks(page)
        if pages.is_shell(block)
        for _, reason in block.commands()
        if reason
    ]
    left += [
        (f"{b.page}:{b.line}", b.skip)
        for p in pages.pages()
        for b in pages.blocks(p)
        if b.skip and not pages.is_shell(b)
    ]
    assert [where for where, reason in left if not reason.startswith((*NEEDS, "tests/"))] == []
    assert all((pages.ROOT / reason).exists() for _, reason in left if reason.startswith("tests/"))
    assert len(left) <= 48


def test_every_kind_that_is_made_smaller_occurs():
    """No entry of the table of reductions is dead."""
    lines = [" ".join(w) for p in pages.pages() for b in pages.blocks(p) if pages.is_shell(b) for w, _ in b.commands()]
    assert [known for known in SMALLER if not any(line.startswith(known) for line in lines)] == []
