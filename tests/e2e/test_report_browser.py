"""The report in a real browser (headless Chromium), opened from file://, as a reader opens it."""

import json
import re
import shutil
from dataclasses import replace

import pytest

from backcast.core.problem import Score
from backcast.core.run import Gap, Run, StageResult, Table
from backcast.core.trace import Trace, TraceLog
from backcast.core.vitals import Vital
from backcast.report import write_report
from tests.report.sample import EVIL, Settings, build, make_traces, writing_pairs

selenium = pytest.importorskip("selenium", reason="needs selenium (pip install selenium)")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver on the PATH"),
]

from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run --window-size=1280,1000"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return write_report(build(tmp_path_factory.mktemp("runs") / "reer-writing"))


@pytest.fixture
def page(browser, sample):
    return opened(browser, sample)


def opened(browser, path, width=1280, scheme="light"):
    """Opens the page afresh in a window of that width, for a reader who likes light or dark."""
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    # Without smooth scrolling: the driver clicks where an element is, not where it will be.
    wishes = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
    features = [{"name": name, "value": value} for name, value in wishes.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(path.resolve().as_uri())
    return browser


def all_of(page, selector):
    return page.find_elements(By.CSS_SELECTOR, selector)


def one(page, selector):
    return page.find_element(By.CSS_SELECTOR, selector)


def press(page, *keys):
    ActionChains(page).send_keys(*keys).perform()


def focused(page):
    return page.switch_to.active_element


def index_of(page, selector, attribute, value):
    return [element.get_attribute(attribute) for element in all_of(page, selector)].index(value)


def background(page):
    """Mean of the red, green and blue of the page's ground, 0 to 255."""
    colour = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


@pytest.fixture(scope="module")
def nasty(tmp_path_factory):
    """A run whose every text is hostile markup or one endless word."""
    folder = tmp_path_factory.mktemp("runs") / ("a" * 120)
    (trace,) = make_traces(1)
    word = "w" * 400
    steps = json.loads(json.dumps(trace.data["steps"]))
    for candidate in steps[0]["candidates"]:
        candidate |= {"text": EVIL + word, "replacement": [EVIL + word]}
    data = dict(trace.data) | {"prompt": EVIL + word, "steps": steps, "item": {EVIL: word}}
    data["segments"] = {"start": [EVIL + word] * 4, "final": [EVIL]}
    quiz = Trace(EVIL, EVIL, EVIL, EVIL + word, data={"prompt": EVIL, "note": word, "deep": {EVIL: [word]}})
    result = StageResult(
        gaps=[Gap(EVIL, EVIL + word, 1.0, 2.0, 0.5, 3.0, 3, note=word)],
        vitals=[Vital(word, 0.5, 0.1, 0.9, EVIL + word)],
        tables=[Table(EVIL, [EVIL] * 9, [[word] * 9])],
        lineage=[word],
    )

    def work(stage):
        TraceLog(stage / "traces.jsonl").append([replace(trace, data=data), quiz])
        return result

    run = Run.open(folder, "reer", Settings(pairs=EVIL), ["backcast", "run", EVIL + word])
    run.stage("search", work)
    run.close()
    return write_report(folder)


@pytest.mark.parametrize("which", ["sample", "nasty"])
def test_no_error_and_no_request(browser, request, which):
    """Opening the page and using every control leaves the console empty and asks for nothing but the file itself;
    markup that a model wrote stays text."""
    path = request.getfixturevalue(which)
    browser.get_log("browser")
    browser.get_log("performance")
    page = opened(browser, path)
    title = page.title
    controls = "button, [role=option][data-item], summary"
    page.execute_script("for (const control of document.querySelectorAll(arguments[0])) control.click()", controls)
    assert [entry["message"] for entry in page.get_log("browser")] == []
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    # The browser's own start page may still be loading its parts (chrome://) while ours opens.
    assert {url for url in asked if not url.startswith(("data:", "chrome://"))} == {path.resolve().as_uri()}
    assert page.title == title
    assert title.endswith("backcast")
    assert all_of(page, "img[src=x]") == []


def test_the_policy_stops_a_script_that_is_not_ours(page):
    """Even markup that got into the page could not run: an injected handler is refused by the policy."""
    page.execute_script("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title=1\">')")
    press(page, Keys.TAB)
    assert page.title != "1"
    assert any("Content Security Policy" in entry["message"] for entry in page.get_log("browser"))


def test_items_are_chosen_by_click_and_by_keyboard(page):
    """Click, arrow keys, j, k, Home and End choose an item; its request is shown; one item is a tab stop at a time."""
    items = "[role=option][data-item]"
    prompts = {pair["prompt"] for pair in writing_pairs(6)}
    seen = set()

    def chosen():
        seen.add(one(page, ".prompt").text)
        assert one(page, ".prompt").text == one(page, f"{items}[aria-selected=true] .about").get_attribute(
            "textContent"
        )
        assert len(all_of(page, f"{items}[tabindex='0']")) == 1
        return index_of(page, items, "aria-selected", "true")

    assert chosen() == 0
    all_of(page, items)[2].click()
    assert chosen() == 2
    for key, expected in ((Keys.ARROW_DOWN, 3), ("j", 4), ("k", 3), (Keys.ARROW_UP, 2), (Keys.END, 5), (Keys.HOME, 0)):
        press(page, key)
        assert chosen() == expected
        assert focused(page) == all_of(page, items)[expected]
    all_of(page, items)[1].click()
    chosen()
    assert len(seen) >= 4
    assert {" ".join(prompt.split()) for prompt in seen} <= {" ".join(prompt.split()) for prompt in prompts}


def test_candidates_open_by_click(page):
    """A click opens a candidate with its wording, a second one closes it, and only one is open at a time."""
    buttons = all_of(page, ".candidates button")
    open_now = index_of(page, ".candidates button", "aria-expanded", "true")
    other = (open_now + 1) % len(buttons)
    buttons[other].click()
    assert index_of(page, ".candidates button", "aria-expanded", "true") == other
    assert [body.is_displayed() for body in all_of(page, ".candidates .diff")].count(True) == 1
    assert all_of(page, ".candidates .diff")[other].text
    buttons[other].click()
    assert not any(body.is_displayed() for body in all_of(page, ".candidates .diff"))


def test_candidates_are_walked_and_opened_by_keyboard(page):
    """From the item: Enter goes to the candidates, arrows or j and k walk them, Enter opens, left and right change the
    step, Escape returns to the item. The focus is always visible."""
    one(page, "[role=option][data-item]").click()
    press(page, Keys.ENTER)
    start = all_of(page, ".candidates button").index(focused(page))
    press(page, Keys.HOME)
    for place, key in ((1, Keys.ARROW_DOWN), (2, "j"), (1, "k"), (0, Keys.ARROW_UP), (1, "j")):
        press(page, key)
        assert all_of(page, ".candidates button").index(focused(page)) == place
        assert focused(page).value_of_css_property("outline-style") == "solid"
    was = focused(page).get_attribute("aria-expanded")
    press(page, Keys.ENTER)
    assert focused(page).get_attribute("aria-expanded") != was
    step = one(page, ".where b").text
    press(page, Keys.ARROW_RIGHT)
    assert one(page, ".where b").text != step
    assert focused(page) in all_of(page, ".candidates button")
    press(page, Keys.ARROW_LEFT)
    assert one(page, ".where b").text == step
    assert all_of(page, ".candidates button").index(focused(page)) == start
    press(page, Keys.ESCAPE)
    assert focused(page) == one(page, "[role=option][data-item]")


def test_each_candidate_says_its_change_overlap_and_fate(page):
    """What is read out is what the trace holds: kind, change in NLL, overlap, accepted or why not."""
    data = json.loads(one(page, "section.traces > script").get_attribute("textContent"))
    number = int(re.match(r"Step (\d+)", one(page, ".where b").text).group(1)) - 1
    step = data["traces"][0]["steps"][number]
    buttons = all_of(page, ".candidates button")
    assert len(buttons) == len(step["candidates"])
    for index, (button, candidate) in enumerate(zip(buttons, step["candidates"], strict=True)):
        label = button.get_attribute("aria-label")
        assert candidate["kind"] in label
        expected = "unscored" if candidate["delta"] is None else f"{abs(candidate['delta']):.3f}"
        assert expected in label
        assert ("accepted" in label) is (index == step["accepted"])
        assert expected in button.text
        if candidate["rejected"] == "not better":
            better = "better, but not the best" if candidate["delta"] < 0 else "not better"
            assert one(button, ".fate").text == better
    assert one(page, ".candidates .accepted .fate").text == "accepted"


def test_steps_follow_the_curve_the_buttons_and_the_segments(page):
    """The stepper, a point of the curve and a segment of the thinking all lead to a step; the end shows the result."""
    data = json.loads(one(page, "section.traces > script").get_attribute("textContent"))
    total = len(data["traces"][0]["steps"])
    page.execute_script(
        "arguments[0].dispatchEvent(new Event('click', {bubbles: true}))", all_of(page, ".search-curve .dot")[-1]
    )
    assert one(page, ".where b").text == f"After {total} steps"
    shown = [part.text.strip() for part in all_of(page, ".thinking button")]
    assert shown == [text.strip() for text in data["traces"][0]["final"]]
    one(page, "[aria-label='Previous step']").click()
    assert one(page, ".where b").text == f"Step {total} of {total}"
    segment = all_of(page, ".thinking button")[0]
    segment.click()
    assert one(page, ".where b").text == "Step 1 of 8"
    assert one(page, ".thinking [aria-current=step]").text == data["traces"][0]["start"][0].strip()


def test_the_heat_map_gives_its_numbers_on_hover_and_focus(page):
    """The number under the pointer, and under the keyboard's focus, is the token's own; the modes shade differently."""
    data = json.loads(one(page, "section.traces > script").get_attribute("textContent"))
    pieces = [piece for piece in data["traces"][0]["pieces"] if piece[2] is not None]
    tokens = all_of(page, ".tokens .t")
    assert len(tokens) == len(pieces)
    ActionChains(page).move_to_element(tokens[5]).perform()
    tip = one(page, ".tip")
    assert tip.is_displayed()
    assert f"before {pieces[5][2]:.2f}, after {pieces[5][3]:.2f}" in tip.text
    page.execute_script("arguments[0].focus()", tokens[0])
    press(page, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, "j")
    assert focused(page) == tokens[3]
    change = pieces[3][3] - pieces[3][2]
    assert f"{abs(change):.2f} nats" in tip.text
    page.execute_script("arguments[0].click()", one(page, ".modes input[value=final]"))
    page.execute_script("arguments[0].blur(); arguments[0].focus()", tokens[3])
    assert f"{pieces[3][3]:.2f} nats" in tip.text
    assert f"after {pieces[3][3]:.2f}" in focused(page).get_attribute("aria-label")
    shades = {}
    for mode in ("difference", "final", "start", "empty"):
        page.execute_script("arguments[0].click()", one(page, f".modes input[value={mode}]"))
        shades[mode] = page.execute_script(
            "return [...document.querySelectorAll('.tokens .t')].map((t) => t.className)"
        )
    assert len({tuple(shade) for shade in shades.values()}) == 4
    for piece, difference, after in zip(pieces, shades["difference"], shades["final"], strict=True):
        change = piece[3] - piece[2]
        side = "t b" if change <= -0.05 else "t w" if change >= 0.05 else "t "
        assert difference.startswith(side)
        assert (difference == "t ") is (side == "t ")
        assert after == f"t h{sum(piece[3] >= edge for edge in (0.5, 1, 2, 3, 5, 8))}"


def test_light_and_dark_follow_the_reader_and_the_button(browser, sample):
    """The system's wish decides until the button is pressed; the choice outlives a reload and can be taken back."""
    opened(browser, sample).execute_script("localStorage.clear()")
    assert background(opened(browser, sample, scheme="light")) > 200
    page = opened(browser, sample, scheme="dark")
    assert background(page) < 60
    button = one(page, "#theme")
    button.click()
    assert (button.text, background(page) > 200) == ("Theme: light", True)
    page = opened(browser, sample, scheme="dark")
    assert background(page) > 200
    for text, dark in (("Theme: dark", True), ("Theme: auto", True)):
        one(page, "#theme").click()
        assert (one(page, "#theme").text, background(page) < 60) == (text, dark)


@pytest.mark.parametrize("which", ["sample", "nasty"])
def test_a_phone_never_scrolls_sideways(browser, request, which):
    """At 360 px nothing but tables is wider than the screen, whatever item is chosen and however long its words."""
    page = opened(browser, request.getfixturevalue(which), width=360)
    for option in range(len(all_of(page, "[role=option][data-item]"))):
        all_of(page, "[role=option][data-item]")[option].click()
        for button in all_of(page, ".candidates button"):
            page.execute_script("arguments[0].click()", button)
            assert page.execute_script("return document.documentElement.scrollWidth") <= 360


def test_a_kind_without_a_viewer_is_shown_plainly(browser, tmp_path):
    """Question, outcome, score and the method's own record are readable; nothing is shown as an object's name."""
    quiz = Trace("t", "p", "quiz", "Valve B.", Score(1.0), {"question": "Which?", "options": ["A", "B"], "tries": 3})
    blank = Trace("u", "u", "quiz")
    folder = build(tmp_path / "quiz", make_traces(1))
    TraceLog(folder / "1-search" / "traces.jsonl").append([quiz, blank])
    page = opened(browser, write_report(folder))
    panel = all_of(page, ".panel")[1]
    for words in ("Which?", "Valve B.", "tries\n3", "score\n1", '"A"'):
        assert words in panel.text
    press_on = all_of(all_of(page, ".items")[1], "[role=option]")[1]
    press_on.click()
    assert "score\nnot measured" in panel.text
    assert "object" not in panel.text


def test_everything_that_takes_focus_has_a_name(page):
    """A screen reader has something to say for each control (names as Chromium computes them)."""
    nodes = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    controls = [
        node
        for node in nodes
        if not node["ignored"]
        and node["role"]["value"] in ("button", "link", "listbox", "option", "radio", "region", "image")
    ]
    assert len(controls) > 30
    assert [node["role"]["value"] for node in controls if not node.get("name", {}).get("value", "").strip()] == []


def test_the_command_is_copied(browser, page):
    """The button says that it copied; the clipboard holds the command."""
    browser.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    button = one(page, "[data-copy]")
    page.execute_script("arguments[0].scrollIntoView()", button)
    button.click()
    WebDriverWait(page, 3).until(lambda _: button.text in ("Copied", "Select and copy"))
    assert button.text == "Copied"
