"""Every kind of HTML page that backcast writes, in a real browser: quiet, alone, readable, usable by keyboard."""

import base64
import json
from pathlib import Path

import pytest

from backcast.core.run import Run, StageResult
from backcast.core.trace import TraceLog
from backcast.report import look, plane, write_report
from tests.e2e.test_report_browser import Keys, all_of, focused, one, opened, press, pytestmark  # noqa: F401
from tests.e2e.test_report_browser import browser as browser
from tests.report.sample import EVIL, Settings, build, png
from tests.report.test_look_viewer import looked
from tests.report.test_plane import PLANE

CONTRAST = (Path(__file__).parent / "pages.js").read_text()
PICTURE = "data:image/png;base64," + base64.b64encode(png()).decode()


def report(folder):
    """A run with REER's viewer, curves, tables, pictures, vital signs."""
    return write_report(build(folder / "run"))


def looking(folder):
    """A run whose traces are looks, as Pixel Reasoner's are."""
    trace = looked(0, 1.0)
    for held in (*trace.data["images"], *trace.data["views"]):
        held["url"] = PICTURE

    def work(stage):
        TraceLog(stage / "traces.jsonl").append([trace])
        return StageResult()

    run = Run.open(folder / "look-run", "pixel", Settings(), ["backcast", "run", "pixel"])
    run.stage("warm", work)
    run.close()
    return write_report(folder / "look-run")


def pictures(folder):
    """A run with pictures of routes, and one of games, as their recipes draw them."""
    import numpy as np

    from backcast.report.bars import Bar, bars
    from backcast.routing.draw import routes_picture
    from backcast.routing.problems import uniform

    instance = uniform(12, np.random.default_rng(0))

    def work(stage):
        (stage / "routes.svg").write_text(routes_picture(instance, [("start", [[1, 2, 3], [4, 5]], set())]))
        (stage / "values.svg").write_text(bars("Value against best response", [Bar("tft", 30.0, 28.0)]))
        return StageResult(pictures=["1-solve/routes.svg", "1-solve/values.svg"])

    run = Run.open(folder / "route-run", "routing", Settings(), ["backcast", "run", "routing"])
    run.stage("solve", work)
    run.close()
    return write_report(folder / "route-run")


def plan(folder):
    (folder / "plan.html").write_text(plane.page(PLANE))
    return folder / "plan.html"


def look_page(folder):
    """What ``backcast look`` writes: answer, boxes, replies, an error that the model was told."""
    marks = tuple(look.Mark(str(n), 20 * n, 10 * n, 60, 40, n) for n in range(6))
    given = [look.Picture("Image 1", PICTURE, 320, 180, "320 x 180 pixels", marks)]
    part = look.Picture("Image 2", PICTURE, 320, 180, "a part", colour=1)
    steps = [look.Step("I look closer.", ("zoom_in {}",), ("no such image",), (part,)), look.Step("It is red.")]
    told = look.LookPage("What colour is it?", "red", [("calls", "1")], given, steps, "photo.jpg", "It was cut off.")
    (folder / "look.html").write_text(look.page(told))
    return folder / "look.html"


def timeline(folder):
    from backcast.scenes.problems import ACTION_GENOME
    from backcast.scenes.timeline import page
    from tests.scenes import worked

    (folder / "timeline.html").write_text(page(worked.forecast(), (worked.LAST,), ACTION_GENOME, worked.TRUTH))
    return folder / "timeline.html"


PAGES = (report, looking, pictures, plan, look_page, timeline)


@pytest.fixture(scope="module", params=PAGES, ids=lambda make: make.__name__)
def path(request, tmp_path_factory):
    return request.param(tmp_path_factory.mktemp("pages"))


def quiet(browser, path):
    """Nothing in the console, and nothing asked for but the page itself, since the logs were last read."""
    said = [entry["message"] for entry in browser.get_log("browser")]
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    return said, {url for url in asked if not url.startswith(("data:", "chrome://"))} - {path.resolve().as_uri()}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_readable_quiet_and_alone(browser, path, scheme):
    """Every text has a contrast of at least 4.5 to 1 against its ground, in both schemes; no error, no request."""
    browser.get_log("browser")
    browser.get_log("performance")
    page = opened(browser, path, scheme=scheme)
    page.execute_script("try { localStorage.clear() } catch {}")
    seen, poor = opened(browser, path, scheme=scheme).execute_script(CONTRAST, 4.5)
    assert seen > 8
    assert poor == []
    assert quiet(browser, path) == ([], set())


def test_tab_reaches_every_control_and_the_focus_shows(browser, path):
    """Walking with the tab key meets each control once; each shows where the focus is."""
    page = opened(browser, path)
    stops = """return [...document.querySelectorAll('a[href], button, input, summary, [tabindex="0"]')]
      .filter((e) => e.tabIndex >= 0 && !e.disabled && e.checkVisibility() && !e.closest('[hidden]'))
      .filter((e) => e.type !== 'radio' || e.checked)
      .map((e, i) => { e.dataset.stop = i; return i; })"""
    wanted = set(map(str, page.execute_script(stops)))
    met, hidden = set(), []
    for _ in range(len(wanted) + 3):
        press(page, Keys.TAB)
        found = focused(page).get_attribute("data-stop")
        if found in wanted - met:
            met.add(found)
            if not page.execute_script(SHOWS):
                hidden.append(focused(page).get_attribute("outerHTML")[:80])
    assert met == wanted
    assert hidden == []


SHOWS = """const e = document.activeElement, style = getComputedStyle(e);
if (style.outlineStyle !== 'none' || e.matches('.skip')) return true;
const near = e.nextElementSibling ? getComputedStyle(e.nextElementSibling).outlineStyle : 'none';
const line = e.querySelector('.frame-line');
return near !== 'none' || (line !== null && getComputedStyle(line).stroke !== 'none');"""


def test_enter_acts(browser, path):
    """What is a button does its work by Enter: theme, items, cells; a link of the contents leads to its section."""
    page = opened(browser, path)
    if all_of(page, "#theme:not([hidden])"):
        before = one(page, "#theme").text
        page.execute_script("document.getElementById('theme').focus()")
        press(page, Keys.ENTER)
        assert one(page, "#theme").text != before
        page.execute_script("localStorage.clear()")
    if all_of(page, "nav a"):
        page.execute_script("document.querySelectorAll('nav a')[1].focus()")
        press(page, Keys.ENTER)
        assert page.current_url.endswith(all_of(page, "nav a")[1].get_attribute("href").partition("#")[2])
    if all_of(page, ".cell"):
        page.execute_script("document.querySelector('.cell[tabindex=\"0\"]').focus()")
        press(page, Keys.ENTER)
        assert "as text" in one(page, "#detail").text
    if all_of(page, "summary"):
        page.execute_script("document.querySelector('summary').focus()")
        press(page, Keys.ENTER)
        assert one(page, "details").get_attribute("open") is not None


def test_no_page_is_wider_than_a_phone(browser, path):
    page = opened(browser, path, width=360)
    assert page.execute_script("return document.documentElement.scrollWidth") <= 360


def test_markup_that_a_model_wrote_does_nothing(browser, tmp_path):
    """Look page and plan with hostile texts everywhere: shown as text, the title stays, no script runs."""
    picture = look.Picture(EVIL, PICTURE, 320, 180, EVIL, (look.Mark(EVIL, 1, 1, 9, 9, 0),))
    steps = [look.Step(EVIL, (EVIL,), (EVIL,), (picture,))]
    text = look.page(look.LookPage(EVIL, EVIL, [(EVIL, EVIL)], [picture], steps, EVIL, EVIL))
    (tmp_path / "evil.html").write_text(text, encoding="utf-8")
    browser.get_log("browser")
    page = opened(browser, tmp_path / "evil.html")
    assert page.title.endswith("backcast")
    assert all_of(page, "img[src=x]") == []
    assert "onerror" in one(page, ".answer").text
    assert page.get_log("browser") == []


def test_the_measure_of_contrast_tells_grey_from_grey(browser, tmp_path):
    """#767676 on white is 4.54 to 1 and passes, #777777 is 4.48 and does not; grounds and see-through colours count."""
    lines = ("color:#767676", "color:#777777", "color:#fff;background:#888", "color:rgb(0 0 0 / 40%)", "color:#000")
    body = "".join(f'<p style="{style}">line {n}</p>' for n, style in enumerate(lines))
    (tmp_path / "grey.html").write_text(f'<meta charset="utf-8"><body style="background:#fff">{body}')
    seen, poor = opened(browser, tmp_path / "grey.html").execute_script(CONTRAST, 4.5)
    assert seen == len(lines)
    assert [line.partition(" ")[0] + line[-7:] for line in poor] == ["4.48 line 1", "3.54 line 2", "2.85 line 3"]
