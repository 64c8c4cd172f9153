"""One table of all performance claims: ratio, peer, date, machine, command.

    python benchmarks/collect.py                 prints the table of the stored results (benchmarks/rows.json)
    python benchmarks/collect.py --run           runs every benchmark that needs no file of yours, stores, prints
    python benchmarks/collect.py --run NAME ...  runs these
    python benchmarks/collect.py --write         writes the table into README.md and docs/benchmarks.md

A row of ``rows.json`` says what is claimed, against whom, how the figure is read off the script's output (``find``, a
regular expression whose groups fill ``shown``), and what was found when and where. Rows without ``find`` need a model,
a text or hours; they are entered by hand with the words of the log (``log``), and a test holds them to it.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE = Path(__file__).with_name("rows.json")
BEGIN, END = "<!-- benchmarks: written by benchmarks/collect.py --write -->", "<!-- end of benchmarks -->"
PAGES = ("README.md", "docs/benchmarks.md")


def rows() -> list[dict]:
    return json.loads(FILE.read_text(encoding="utf-8"))


def table(found: list[dict]) -> str:
    """The rows as Markdown; an aim that was missed is said."""
    lines = ["| what | ours | against | measured | command |", "|---|---|---|---|---|"]
    for row in found:
        aim = f" (aim {row['aim']}: {'met' if row['met'] else '**missed**'})" if row["aim"] else ""
        when = f"{row['date']}, {row['machine']}"
        lines.append(f"| {row['what']} | {row['shown']}{aim} | {row['peer']} | {when} | `{row['command']}` |")
    return "\n".join(lines)


def machine() -> str:
    """Cores, processor and how busy it was."""
    name = platform.machine()
    if Path("/proc/cpuinfo").exists():
        models = re.findall(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        name = models[0] if models else name
    return f"{os.cpu_count()} cores, {name}, load {os.getloadavg()[0]:.0f}"


def measure(command: str, asked: list[dict]) -> list[dict]:
    """The rows of one command with what it prints now; raises SystemExit if it failed or says something else."""
    done = subprocess.run([sys.executable, *command.split()[1:]], cwd=ROOT, capture_output=True, text=True)
    print(done.stdout, end="", flush=True)
    now = {"date": datetime.now(UTC).date().isoformat(), "machine": machine()}
    found = []
    for row in asked:
        match = re.search(row["find"], done.stdout, re.MULTILINE)
        if match is None:
            raise SystemExit(f"{command}: exit code {done.returncode}, no figure\n{done.stderr[-2000:]}")
        met = None if row["at_least"] is None else float(match[1]) >= row["at_least"]
        found.append({**row, "shown": row["show"].format(*match.groups()), "met": met, "log": None, **now})
    return found


def run(names: list[str]) -> None:
    """Runs the benchmarks and stores each result as soon as it is there, so that a killed run loses one."""
    wanted = {Path(name).stem for name in names}
    commands = dict.fromkeys(row["command"] for row in rows() if row["find"])
    for command in commands:
        if not wanted or Path(command.split()[1]).stem in wanted:
            print(f"== {command}", flush=True)
            fresh = measure(command, [row for row in rows() if row["command"] == command and row["find"]])
            new = {(row["what"], row["peer"]): row for row in fresh}
            stored = [new.get((row["what"], row["peer"]), row) for row in rows()]
            FILE.write_text(json.dumps(stored, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def written(page: str, found: list[dict]) -> str:
    """The text of a page with the table between the two marks."""
    text = (ROOT / page).read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{table(found)}\n\n{END}{tail}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="files of benchmarks/, with --run")
    parser.add_argument("--run", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.run:
        run(options.names)
    if options.write:
        for page in PAGES:
            (ROOT / page).write_text(written(page, rows()), encoding="utf-8")
    print(table(rows()))


if __name__ == "__main__":
    main()
