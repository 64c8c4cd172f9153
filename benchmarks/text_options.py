"""Judging questions by the likelihood of their options: the prompt read once a question, against once an option.

The claim: at least 2 times the throughput of scoring each option separately, and the same options chosen. The peer
reads every option behind its whole question, from the beginning, with logits at all positions, as a plain loop does.

    python benchmarks/text_options.py [--on QUESTIONS] [--model smollm2] [--questions 24] [--form text] [--json]

Without --on the questions are running words of a fixed seed: 120 words, four options of six.
"""

import argparse
import json
import random
import statistics
import sys
import time

import numpy as np

from backcast.lm.base import Scoring
from backcast.lm.local import LocalLM
from backcast.lm.models import resolve
from backcast.text.answers import scoring
from backcast.text.problems import Question, read_questions

SENTENCES = (
    "the patient came in with pain on one side after a long walk and said that it had begun in the night while a cold "
    "wind blew so the doctor looked at the leg and asked for an old letter from the clinic in town before any test"
)


def made(count):
    chance = random.Random(0)
    for i in range(count):
        options = tuple(" ".join(chance.choices(SENTENCES.split(), k=6)) + f" {j}" for j in range(4))
        yield Question(str(i), " ".join(chance.choices(SENTENCES.split(), k=120)) + "?", "A", options=options)


def timed(work):
    begin = time.process_time()
    found = work()
    return time.process_time() - begin, found


def measure(lm, questions, form):
    rows = {"shared": [], "separate": []}
    same, apart = 0, 0.0
    for number, question in enumerate(questions):
        item = scoring(question, form)
        single = [Scoring(item.prompt, (text,), (1,)) for text in item.continuations]
        order = ["shared", "separate"] if number % 2 else ["separate", "shared"]
        found = {}
        for name in order:
            if name == "shared":
                seconds, scores = timed(lambda item=item: lm.logprobs([item])[0])
            else:
                seconds, scores = timed(lambda single=single: [lm.logprobs_naive([one])[0][0] for one in single])
            found[name] = np.array([score.nll for score in scores])
            if number:  # the first question warms up
                rows[name].append(seconds)
        same += int(found["shared"].argmin() == found["separate"].argmin())
        apart = max(apart, float(np.abs(found["shared"] - found["separate"]).max()))
        print(f"{number + 1}/{len(questions)}", file=sys.stderr, flush=True)
    totals = {name: sum(values) for name, values in rows.items()}
    ratios = [a / b for a, b in zip(rows["separate"], rows["shared"], strict=True)]
    return {
        "benchmark": "text_options",
        "model": lm.name,
        "peer": "every option behind its whole question, logits at all positions",
        "form": form,
        "questions": len(questions) - 1,
        **{f"{name}_cpu_seconds_per_1000": round(1000 * s / len(rows[name]), 1) for name, s in totals.items()},
        "ratio": round(totals["separate"] / totals["shared"], 3),
        "ratio_median": round(statistics.median(ratios), 3),
        "same_choice": f"{same} of {len(questions)}",
        "max_difference": apart,
    }


def main():
    read = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    read.add_argument("--on")
    read.add_argument("--model", default="smollm2")
    read.add_argument("--questions", type=int, default=24)
    read.add_argument("--form", choices=("letter", "text"), default="text")
    read.add_argument("--json", action="store_true", help="print one JSON line")
    asked = read.parse_args()
    questions = (read_questions(asked.on) if asked.on else list(made(asked.questions + 1)))[: asked.questions + 1]
    lm = LocalLM(resolve(asked.model), dtype="float32", device="cpu", name=asked.model)
    found = measure(lm, questions, asked.form)
    if asked.json:
        print(json.dumps(found))
    else:
        print("\n".join(f"{name}: {value}" for name, value in found.items()))
    return 0 if found["ratio"] >= 2.0 and found["max_difference"] <= 1e-3 else 1


if __name__ == "__main__":
    sys.exit(main())
