"""The story's bundled problems: candidates, and those that a warm-started model gets right now and then.

python benchmarks/effects/story_problems.py candidates OUT.jsonl
backcast curate OUT.jsonl --model MODEL --as-given --out RUN ...          (the whole command is in docs/log.md)
python benchmarks/effects/story_problems.py keep src/backcast/data/problems/problems.jsonl RUN/1-label/traces.jsonl ...

Each kind has one worked problem, which the warm start learns the form from; it is no candidate.
"""

import json
import sys
from pathlib import Path

Row = dict[str, str]

TASKS: dict[str, tuple[str, str, str, str]] = {
    "opposite": (
        "the opposite of {}",
        "big",
        "small",
        "hot cold, up down, wet dry, fast slow, happy sad, light dark, full empty, left right, early late, day night, "
        "long short, young old, buy sell, push pull, rich poor, north south, first last, high low, thick thin, "
        "strong weak, clean dirty, love hate, black white, east west",
    ),
    "capital": (
        "the capital of {}",
        "Spain",
        "Madrid",
        "Italy Rome, France Paris, Japan Tokyo, Germany Berlin, England London, Russia Moscow, Egypt Cairo, "
        "China Beijing, Greece Athens, Ireland Dublin, Portugal Lisbon, Cuba Havana, Poland Warsaw, Canada Ottawa",
    ),
    "sum": (
        "{}",
        "2 plus 2",
        "4",
        "3 plus 4=7, 5 plus 5=10, 6 plus 3=9, 7 plus 5=12, 8 plus 8=16, 10 plus 10=20, 20 plus 30=50, 4 plus 4=8",
    ),
    "day": (
        "the day after {}",
        "Friday",
        "Saturday",
        "Monday Tuesday, Tuesday Wednesday, Thursday Friday, Sunday Monday",
    ),
    "month": ("the month after {}", "March", "April", "January February, May June, July August, October November"),
    "next": ("the number after {}", "4", "5", "9 10, 19 20, 29 30, 41 42, 12 13, 99 100"),
    "count": (
        "the number of {}",
        "legs of a dog",
        "4",
        "legs of a spider=8, legs of a bird=2, wheels of a car=4, days in a week=7, months in a year=12, "
        "minutes in an hour=60, sides of a triangle=3, sides of a square=4",
    ),
    "plural": (
        "the plural of {}",
        "dog",
        "dogs",
        "child children, mouse mice, foot feet, tooth teeth, man men, woman women, box boxes, baby babies, "
        "leaf leaves, goose geese",
    ),
    "past": (
        "the past tense of {}",
        "walk",
        "walked",
        "go went, eat ate, see saw, run ran, sing sang, write wrote, take took, buy bought, fly flew, give gave",
    ),
    "colour": ("the colour of {}", "grass", "green", "snow white, blood red, coal black, milk white, chocolate brown"),
    "language": (
        "the language of {}",
        "France",
        "French",
        "Germany German, Italy Italian, Japan Japanese, Russia Russian, Brazil Portuguese, Greece Greek, "
        "Mexico Spanish",
    ),
    "continent": (
        "the continent of {}",
        "France",
        "Europe",
        "Kenya Africa, Japan Asia, Egypt Africa, India Asia, Italy Europe, Nigeria Africa, China Asia",
    ),
    "larger": (
        "the larger of {}",
        "3 and 8",
        "8",
        "14 and 41=41, 9 and 12=12, 27 and 72=72, 6 and 2=6, 50 and 15=50, 31 and 29=31, 7 and 70=70",
    ),
}
"""Kind: the question with a gap, what stands in the gap of the worked problem, its answer, and the candidates."""


def row(kind: str, asked: str, gap: str, answer: str) -> Row:
    name = f"{kind}-{gap}".replace(" ", "-").lower()
    rule = "numeric" if answer.isdigit() else "exact"
    return {"id": name, "prompt": f"What is {asked.format(gap)}?", "answer": answer, "kind": rule}


def worked() -> list[Row]:
    found = []
    for kind, (asked, gap, answer, _) in TASKS.items():
        found.append({**row(kind, asked, gap, answer), "worked": f"We need to find {asked.format(gap)}."})
    return found


def candidates() -> list[Row]:
    found = []
    for kind, (asked, _, _, items) in TASKS.items():
        for item in " ".join(items.split()).split(", "):
            gap, answer = item.split("=") if "=" in item else item.rsplit(" ", 1)
            found.append(row(kind, asked, gap, answer))
    return found


def write(path: str, rows: list[Row]) -> None:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def keep(out: str, traces: list[str]) -> None:
    """Writes the worked problems, and of the labelled ones those with 20 to 80 % right answers (curate's levels 2 to 5
    of 6)."""
    found = [
        json.loads(line)["data"] | {"id": json.loads(line)["problem"]}
        for path in traces
        for line in Path(path).read_text().splitlines()
    ]
    shares = {label["id"]: label["correct"] / label["n"] for label in found}
    kept = [row for row in candidates() if 0.2 <= shares.get(row["id"], 0.0) <= 0.8]
    write(out, [*worked(), *kept])
    right = sum(shares.values()) / len(shares)
    chosen = sum(shares[row["id"]] for row in kept) / len(kept)
    always, never = (sum(share == end for share in shares.values()) for end in (1.0, 0.0))
    print(f"{len(shares)} labelled, {right:.3f} right, always {always}, never {never}; kept {len(kept)}, {chosen:.3f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["candidates"] and len(sys.argv) == 3:
        write(sys.argv[2], [*worked(), *candidates()])
    elif sys.argv[1:2] == ["keep"] and len(sys.argv) > 3:
        keep(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(__doc__)
