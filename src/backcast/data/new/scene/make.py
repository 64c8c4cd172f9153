"""Writes clips.jsonl: streams of typed graphs. Replace `clip` by your own reader; run: python make.py"""

import json
import random
from pathlib import Path
from typing import Any

VOCABULARY = {
    "subject": "person",
    "objects": ["door", "kettle", "cup", "table"],
    "groups": [
        {"name": "attention", "predicates": ["looking_at", "not_looking_at"], "arity": "one"},
        {"name": "contact", "predicates": ["holding", "touching", "not_contacting"], "arity": "many"},
    ],
}
HERE, AWAY = ["looking_at"], ["not_looking_at"]
STAGES = (
    {"door": (HERE, ["touching"])},
    {"kettle": (HERE, ["holding"]), "table": (AWAY, ["not_contacting"])},
    {"kettle": (AWAY, ["holding"]), "cup": (HERE, ["holding"]), "table": (AWAY, ["touching"])},
    {"cup": (HERE, ["holding"])},
)


def clip(rng: random.Random, number: int) -> dict[str, Any]:
    """Somebody comes in, boils water and has tea; how long each stage takes is chance."""
    frames: list[dict[str, Any]] = []
    for stage in STAGES:
        for _ in range(rng.randint(2, 5)):
            held = {name: {"attention": look, "contact": touch} for name, (look, touch) in stage.items()}
            frames.append({"index": len(frames), "objects": held})
    return {"id": f"clip-{number}", "frames": frames}


def main() -> None:
    """The same seed gives the same file."""
    rng = random.Random(0)
    lines: list[dict[str, Any]] = [{"vocabulary": VOCABULARY}, *(clip(rng, number) for number in range(60))]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (Path(__file__).parent / "clips.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
