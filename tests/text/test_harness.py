"""lm-eval's tasks judge our models: against lm-eval's own back-end on the same folder, by hand, and as a process."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("lm_eval")

from backcast.core.errors import BadInput
from backcast.lm.local import LocalLM
from backcast.text.harness import INVALID, adapter, run_tasks

COMMON = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
"""
KINDS = {
    "picks": """
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: "{{options}}"
doc_to_target: answer
metric_list: [{metric: acc}, {metric: acc_norm}]
""",
    "goes_on": """
output_type: loglikelihood
doc_to_text: "{{question}}"
doc_to_target: " {{options[answer]}}"
metric_list: [{metric: acc}, {metric: perplexity}]
""",
    "writes": """
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{options[answer]}}"
generation_kwargs: {until: ["."], max_gen_toks: 12, do_sample: false}
metric_list: [{metric: exact_match}]
filter_list:
  - name: letter
    filter: [{function: regex, regex_pattern: "([A-Z]{9})"}, {function: take_first}]
""",
    "reads": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}}"
metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}]
""",
}
WORDS = ["north", "south", "cold", "warm", "early", "late"]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """A folder with one task of each of lm-eval's kinds, on six questions of a local file."""
    folder = tmp_path_factory.mktemp("tasks")
    rows = [
        {"question": f"What runs {word} of the river, and why?", "options": ["a wall", "the old road"], "answer": i % 2}
        for i, word in enumerate(WORDS)
    ]
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, rest in KINDS.items():
        (folder / f"{name}.yaml").write_text(COMMON.format(name=name, data=data) + rest)
    return folder


@pytest.fixture(scope="module")
def theirs(tiny_llama):
    """lm-eval's own back-end on the same folder."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(tiny_llama), device="cpu", dtype="float32", batch_size=1)


def instances(pairs, kind):
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, pair, 0, metadata=("picks", i, 1)) for i, pair in enumerate(pairs)]


def test_continuations_are_scored_as_by_their_own_back_end(tiny_llama, theirs):
    """Sums of log-probabilities and the greedy verdict, also without a context and with a space at its end."""
    pairs = [
        ("Question: What runs north?\nAnswer:", " a wall"),
        ("Question: What runs north?\nAnswer:", " the old road"),
        ("What runs ", "south"),
        ("", "The river runs."),
    ]
    greedy = theirs.generate_until(
        instances([("The river", {"until": ["zzz"], "max_gen_toks": 1, "do_sample": False})], "generate_until")
    )[0]
    pairs.append(("The river", greedy))
    asked = instances(pairs, "loglikelihood")
    ours, known = adapter(LocalLM(tiny_llama), {"picks"}).loglikelihood(asked), theirs.loglikelihood(asked)
    assert [one[0] for one in ours] == pytest.approx([one[0] for one in known], abs=1e-4)
    assert [one[1] for one in ours] == [one[1] for one in known]
    assert ours[-1][1], "what it writes greedily is greedy"


def test_whole_texts_are_scored_as_by_their_own_back_end(tiny_llama, theirs):
    texts = instances([("What runs north of the river, and why?",), ("A wall.",)], "loglikelihood_rolling")
    assert adapter(LocalLM(tiny_llama), set()).loglikelihood_rolling(texts) == pytest.approx(
        theirs.loglikelihood_rolling(texts), abs=1e-3
    )


def test_a_text_longer_than_the_context_is_read_in_windows(tiny_llama):
    """Each token once: as many windows as it takes, and about the likelihood that lm-eval's windows give."""
    from lm_eval.models.huggingface import HFLM

    lm = LocalLM(tiny_llama)
    lm.context = 32
    text = instances([(" ".join(WORDS) * 12,)], "loglikelihood_rolling")
    known = HFLM(pretrained=str(tiny_llama), device="cpu", dtype="float32", batch_size=1, max_length=32)
    # Where one window ends and what the last one sees differs by a token or two: not to the last digit.
    assert adapter(lm, set()).loglikelihood_rolling(text) == pytest.approx(known.loglikelihood_rolling(text), rel=0.05)


@pytest.mark.parametrize("name", [*KINDS])
def test_every_kind_of_task_gives_the_figures_of_their_own_back_end(name, tasks, tiny_llama, theirs):
    from lm_eval import evaluator
    from lm_eval.tasks import TaskManager

    (found,) = run_tasks(LocalLM(tiny_llama), str(tasks / f"{name}.yaml"))
    manager = TaskManager(include_defaults=False)
    loaded = manager.load([str(tasks / f"{name}.yaml")])
    loaded["tasks"][name].set_config(key="num_fewshot", value=0)
    known = evaluator.evaluate(theirs, loaded, bootstrap_iters=10)["results"][name]
    figures = {key.split(",")[0]: value for key, value in known.items() if "," in key and "stderr" not in key}
    assert found.n == len(WORDS)
    assert {found.metric: found.value, **found.others} == pytest.approx(figures, rel=1e-4)
    if found.scores is not None:
        assert found.scores.mean() == pytest.approx(found.value)
        bounds = found.interval()
        assert bounds.low <= found.value <= bounds.high
    assert found.unparsed == (len(WORDS) if name == "writes" else 0), (
        f"a random model writes no nine capitals: {INVALID}"
    )


def test_figures_of_the_first_questions_only(tasks, tiny_llama):
    (found,) = run_tasks(LocalLM(tiny_llama), str(tasks / "picks.yaml"), limit=4)
    assert found.n == 4
    assert np.isin(found.scores, (0.0, 1.0)).all()


@pytest.mark.parametrize(
    ("named", "said"),
    [("", "no task named"), ("none.yaml", "no such file: 'none.yaml'"), ("broken", "cannot load")],
)
def test_what_is_no_task_is_one_line(named, said, tasks, tiny_llama, tmp_path):
    if named == "broken":
        path = tmp_path / "broken.yaml"
        path.write_text((tasks / "picks.yaml").read_text().replace("rows.jsonl", "absent.jsonl"))
        named = str(path)
    with pytest.raises(BadInput, match=said) as caught:
        run_tasks(LocalLM(tiny_llama), named)
    assert "\n" not in str(caught.value)


def test_judge_as_a_process(tasks, tiny_llama, tmp_path):
    """One JSON object on stdout, with the paired difference of two models on the same questions."""
    words = ["judge", tiny_llama, "--on", f"harness:{tasks / 'picks.yaml'}", "--against", tiny_llama, "--json"]
    env = {**os.environ, "BACKCAST_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", "backcast", *map(str, words)], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["metric"] == "acc, picks"
    assert said["n"] == len(WORDS)
    assert said["low"] <= said["value"] <= said["high"]
    assert said["difference"] == 0.0
    assert said["unparsed"] == 0
    assert set(said["parts"]) >= {"acc_norm"}
