"""The ten method pages have the same eight headings, and every page is in the navigation."""

import re

import pytest

from backcast import recipes
from tests.docs.pages import ROOT

pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="no docs beside the tests")
EIGHT = [
    "Paper",
    "The idea in five lines",
    "Equations beside the code",
    "Defaults and their sources",
    "What differs from the paper and from the authors' code",
    "Vital signs, and what they look like when broken",
    "Try it (CPU)",
    "At paper scale",
]
PAGES = sorted(path for path in (ROOT / "docs" / "methods").glob("*.md") if path.name != "index.md")


def test_there_are_ten_pages():
    assert len(PAGES) == len(recipes.METHODS) == 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_same_eight_headings(page):
    """Level two, in this order, and none more; the paper's number stands under the first."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == EIGHT
    first = text.split("\n## ")[1]
    assert any(method.paper in first for method in recipes.METHODS)


def test_every_page_can_be_found():
    """The navigation names each page, or the index of the methods does."""
    found = (ROOT / "mkdocs.yml").read_text() + (ROOT / "docs" / "methods" / "index.md").read_text()
    names = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert [name for name in names if name.removeprefix("methods/") not in found and "progress/" not in name] == []
