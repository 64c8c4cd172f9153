"""Reads the code blocks of the pages: what each line is, and whether a test can run it here.

An HTML comment directly above a block says what a reader does not need to know:
``<!-- test: file NAME -->`` the block is the file NAME; ``<!-- test: given PYTHON -->`` what a snippet stands on;
``<!-- test: skip REASON -->`` the block is not run. A command whose comment says ``needs ...`` is not run either.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEFT_OUT = ("docs/log.md", "docs/architecture.md", "docs/progress/")
"""Records and design: their blocks are no instructions."""

_BLOCK = re.compile(r"((?:^<!-- test: .*? -->\n)*)^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str
    given: str = ""
    """Python to execute before it."""
    file: str = ""
    """The file that it is."""
    skip: str = ""
    """Why it is not run; empty if it is."""

    def commands(self) -> Iterator[tuple[list[str], str]]:
        """(words, reason for not running it or "") of every command of a shell block."""
        for line in self.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            needs = re.search(r"#.*\b(needs .*)$", line)
            if words:
                yield words, self.skip or (needs[1] if needs else "")


def pages() -> list[str]:
    """Every page whose blocks are instructions."""
    found = ["README.md", *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md")))]
    return [page for page in found if not page.startswith(LEFT_OUT)]


def blocks(page: str) -> list[Block]:
    """The blocks of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        said = dict(re.findall(r"<!-- test: (file|given|skip) (.*?) -->", match[1]))
        line = text[: match.start(2)].count("\n") + 1
        found.append(Block(page, line, match[2], match[3], **said))
    return found


def is_shell(block: Block) -> bool:
    """True for commands: blocks without a language, or of ``sh``."""
    return block.language in ("", "sh") and not block.file
