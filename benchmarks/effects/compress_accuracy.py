"""What compression does to accuracy: packed folders beside the model they come from, on question files.

    python benchmarks/effects/compress_accuracy.py MODEL --packed "wgm 4=DIR" ... --on "PubMedQA=letter:FILE" ...

Options are weighed by the likelihood of their letter or of their text, as ``backcast judge DIR --on choice:FILE --by``
does. Per folder and file: accuracy with its Wilson interval, the paired difference to the model with a bootstrap
interval over questions, and how often the same option was chosen, which says more than accuracy where the model itself
is near chance. Then the pairs named by ``--pair A=B`` against each other. All of it goes to
``results/compress-accuracy.json``. ``--decode`` reads with the decoded numbers in plain layers: the same weights, about
twice as fast on prompts, and not the packed products, which have their own tests. ``--add`` keeps what the file has of
the same model beside what is measured now, if the original answers the same questions as it did.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from effects_file import FOLDER, write

import backcast.compress  # noqa: F401
from backcast.compress.packed import PackedLinear
from backcast.core import stats
from backcast.lm.models import load
from backcast.text.answers import Answers, baselines, by_likelihood
from backcast.text.problems import read_questions

RESULT = FOLDER / "compress-accuracy.json"


def interval(found: stats.Interval) -> list[float]:
    return [round(value, 4) for value in (found.value, found.low, found.high)]


def compared(mine: Answers, other: Answers) -> dict[str, Any]:
    """Accuracy of the first minus that of the second, and how often both chose the same option."""
    same = sum(a == b for a, b in zip(mine.chosen, other.chosen, strict=True))
    return {
        "difference": interval(stats.paired(mine.right, other.right)),
        "same option": interval(stats.wilson(same, len(mine.chosen))),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--title", required=True)
    parser.add_argument("--packed", nargs="+", required=True, metavar="NAME=DIR")
    parser.add_argument("--on", nargs="+", required=True, metavar="NAME=letter|text:FILE")
    parser.add_argument("--decode", action="store_true")
    parser.add_argument("--add", action="store_true")
    parser.add_argument("--pair", nargs="*", default=[], metavar="NAME=NAME")
    options = parser.parse_args()
    torch.set_num_threads(1)
    # Products in bfloat16 with float32 sums, for the original and the packed alike.
    torch.set_float32_matmul_precision("medium")
    folders = {"original": options.model, **dict(entry.split("=", 1) for entry in options.packed)}
    files = {name: value.split(":", 1) for name, value in (entry.split("=", 1) for entry in options.on)}
    sets = {name: read_questions(path) for name, (_, path) in files.items()}
    answers: dict[str, dict[str, Answers]] = {name: {} for name in sets}
    before = json.loads(RESULT.read_text()) if options.add else {"model": options.title, "sets": {}}
    if before["model"] != options.title:
        raise SystemExit(f"--add: {RESULT.name} is of '{before['model']}', not of '{options.title}'")
    for folder, where in folders.items():
        model = load(where)
        if options.decode:
            decode(model.model)
        for name, questions in sets.items():
            found = answers[name][folder] = by_likelihood(questions, model, files[name][0])
            print(f"{name}, {folder}: {interval(found.accuracy())}", flush=True)
        # After every folder, so that a stopped run keeps what it has.
        now = figures(answers, files, options.pair)
        path = write("compress-accuracy", {"model": options.title, "sets": joined(before, now)})
    print(path)


def joined(before: dict[str, Any], now: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The sets of ``before`` with those measured now, and in a set that both have the rows of both, the later ones."""
    found = dict(before["sets"])
    for name, one in now.items():
        old = found.get(name, {"rows": {}, "pairs": {}})
        about = {key: old.get(key) for key in ("by", "n", "file")}
        if old["rows"] and (
            about != {key: one[key] for key in about} or old["rows"]["original"] != one["rows"]["original"]
        ):
            raise SystemExit(f"--add: {name} was measured otherwise; measure all of it again")
        found[name] = {**one, "rows": {**old["rows"], **one["rows"]}, "pairs": {**old["pairs"], **one["pairs"]}}
    return found


def decode(model: torch.nn.Module) -> None:
    """Puts plain layers with the stored numbers in the place of packed ones."""
    for name, module in list(model.named_modules()):
        if isinstance(module, PackedLinear):
            plain = torch.nn.Linear(module.in_features, module.out_features, bias=False)
            plain.weight, plain.bias = torch.nn.Parameter(module.dense()), module.bias
            model.set_submodule(name, plain.requires_grad_(False))


def figures(
    answers: dict[str, dict[str, Answers]], files: dict[str, list[str]], pairs: list[str]
) -> dict[str, dict[str, Any]]:
    """What the result file holds of each set, by folder, with the pairs whose folders are both there."""
    found: dict[str, dict[str, Any]] = {}
    for name, by_folder in answers.items():
        original = by_folder["original"]
        rows = {
            folder: {
                "accuracy": interval(one.accuracy()),
                "nll of the right option": round(float(np.mean(right_nll(one))), 4),
                **compared(one, original),
            }
            for folder, one in by_folder.items()
        }
        named = [entry.split("=") for entry in pairs]
        against = {f"{a} - {b}": compared(by_folder[a], by_folder[b]) for a, b in named if {a, b} <= by_folder.keys()}
        about = {"by": files[name][0], "n": len(original.questions), "file": Path(files[name][1]).name}
        found[name] = {**about, "baselines": baselines(original.questions), "rows": rows, "pairs": against}
    return found


def right_nll(found: Answers) -> list[float]:
    """Nats per token of the right option, by question."""
    pairs = zip(found.questions, found.nll, strict=True)
    return [nll[question.letters.index(question.answer)] for question, nll in pairs]


if __name__ == "__main__":
    main()
