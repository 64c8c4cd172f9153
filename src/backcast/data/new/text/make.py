"""Writes train.jsonl and test.jsonl: problems whose answers can be checked. Edit `problem`; run: python make.py"""

import json
import random
from pathlib import Path

FOLDER = Path(__file__).parent


def problem(rng: random.Random) -> dict[str, str]:
    """One problem. `kind` says how a reply is checked: numeric, choice (a letter), or exact (the same words)."""
    a, b, c = rng.randint(2, 9), rng.randint(2, 9), rng.randint(1, 20)
    return {"prompt": f"What is {a} times {b}, plus {c}?", "answer": str(a * b + c), "kind": "numeric"}


def main() -> None:
    """The same seed gives the same files; no problem is in both."""
    rng = random.Random(0)
    seen: set[str] = set()
    while len(seen) < 250:
        seen.add(json.dumps(problem(rng)))
    lines = sorted(seen)
    rng.shuffle(lines)
    (FOLDER / "train.jsonl").write_text("\n".join(lines[:200]) + "\n", encoding="utf-8")
    (FOLDER / "test.jsonl").write_text("\n".join(lines[200:]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
