"""The timeline: small, self-contained, everything in it, hostile names harmless; in a browser where there is one."""

import re
import shutil

import numpy as np
import pytest

from backcast.scenes.counts import Persistence
from backcast.scenes.forecast import GraphForecast
from backcast.scenes.problems import ACTION_GENOME, Frame, Group, Vocabulary
from backcast.scenes.timeline import page
from tests.scenes import worked


def big():
    """60 frames, 10 objects, every label possible."""
    rng = np.random.default_rng(0)
    objects = np.zeros((30, 37))
    objects[:, 2:12] = rng.random((30, 10))
    seen = tuple(Frame(t, dict.fromkeys(range(2, 12), (0, 5, 14))) for t in range(30))
    predicates = rng.random((30, 37, 26))
    return GraphForecast("big", np.arange(30, 60), objects, predicates, objects > 0.5), seen


def test_small_and_alone():
    """Below 2 MB for 60 frames x 10 objects, and nothing is fetched."""
    text = page(*big(), ACTION_GENOME)
    assert len(text.encode()) < 2_000_000
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert text.count('class="cell"') == 600


def test_shows_divider_arrival_and_end():
    """Observed and predicted are apart; the chair that comes, the bag that goes and the truth have their lanes."""
    text = page(worked.forecast(), (worked.LAST,), ACTION_GENOME, worked.TRUTH)
    for word in ("chair", "bag", "laptop", 'class="divide"', "observed", "predicted", "Frame 10:"):
        assert word in text
    assert text.count('class="truth"') == 3 * 5
    assert "show what did follow" not in page(worked.forecast(), (worked.LAST,), ACTION_GENOME)


def test_hostile_names():
    """Names are text, never markup."""
    words = Vocabulary(('</script><b>"x',), (Group("<i>", ("<img src=x>",)),))
    frames = (Frame(1, {0: (0,)}), Frame(2, {0: (0,)}))
    text = page(Persistence(words).forecast("<u>", frames[:1], [2]), frames[:1], words, frames[1:])
    for bad in ("</script><b>", "<img src", "<u>", "<i>"):
        assert bad not in text


selenium = pytest.importorskip("selenium", reason="needs selenium (pip install selenium)")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


needs_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver on the PATH")

# The least contrast of any shown text with what lies behind it (WCAG 2.2, 1.4.3), and that text.
CONTRAST = """
const parts = c => { const [r, g, b, a = 1] = c.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
const light = c => c.slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = at => {
  const all = [];
  for (; at; at = at.parentElement) all.push(parts(getComputedStyle(at).backgroundColor));
  return all.reduceRight((below, top) => over(top, below), [255, 255, 255, 1]);
};
let worst = [99, ""], count = 0;
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const at = walk.currentNode.parentElement, style = getComputedStyle(at);
  if (!walk.currentNode.data.trim() || !at.getClientRects().length || style.visibility == "hidden") continue;
  if (["SCRIPT", "STYLE"].includes(at.tagName)) continue;
  const ink = parts(at instanceof SVGElement ? style.fill : style.color);
  for (let up = at; up; up = up.parentElement) ink[3] *= Number(getComputedStyle(up).opacity);
  const ground = behind(at), pair = [light(over(ink, ground)), light(ground)].sort((a, b) => b - a);
  const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
  count += 1;
  if (ratio < worst[0]) worst = [ratio, walk.currentNode.data.trim().slice(0, 40)];
}
return [...worst, count];
"""


@pytest.fixture
def browser(tmp_path):
    """A page with everything in it, in a browser."""
    from selenium import webdriver

    path = tmp_path / "page.html"
    path.write_text(page(worked.forecast(), (worked.LAST,), ACTION_GENOME, worked.TRUTH))
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'chromium'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    found.get(path.as_uri())
    yield found
    found.quit()


@pytest.mark.browser
@needs_browser
def test_in_a_browser(browser):
    """A click shows prompt and alternatives, arrow keys move on, the truth can be hidden, PNG works, no errors."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.wait import WebDriverWait

    browser.find_element(By.CSS_SELECTOR, '[data-at="1,1"]').click()
    detail = browser.find_element(By.ID, "detail").text
    assert "drinking_from 60 %" in detail
    assert "Frame 10: looking_at; in_front_of; holding" in detail
    assert "What did follow: looking_at, in_front_of, drinking_from, holding" in detail
    browser.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    assert browser.switch_to.active_element.get_attribute("data-at") == "2,1"
    mark = browser.find_element(By.CLASS_NAME, "truth")
    assert mark.is_displayed()
    browser.find_element(By.ID, "truth").click()
    assert not mark.is_displayed()
    browser.find_element(By.ID, "png").click()
    WebDriverWait(browser, 20).until(lambda b: b.find_element(By.TAG_NAME, "body").get_attribute("data-png"))
    assert int(browser.find_element(By.TAG_NAME, "body").get_attribute("data-png")) > 5000
    assert not [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]


@pytest.mark.browser
@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(browser, scheme):
    """Every text has a contrast of at least 4.5 with what lies behind it, details opened; grey on white would not."""
    from selenium.webdriver.common.by import By

    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.find_element(By.CSS_SELECTOR, '[data-at="1,1"]').click()
    ratio, text, count = browser.execute_script(CONTRAST)
    assert count > 20
    assert ratio >= 4.5, text
    browser.execute_script("document.querySelector('h1').style.color = '#808080'")
    assert browser.execute_script(CONTRAST)[0] < 4.5


@pytest.mark.browser
@needs_browser
def test_order_of_focus(browser):
    """Tab goes through what can be used, each once, down the page and to the right; what has focus shows it."""
    from selenium.webdriver.common.keys import Keys

    at = """
      const e = document.activeElement, box = e.getBoundingClientRect(), line = e.querySelector(".frame-line");
      const shown = line ? getComputedStyle(line).stroke : getComputedStyle(e).outlineStyle;
      return [e.id || e.dataset.at || e.tagName, shown, box.top + scrollY, box.left];
    """
    seen: list = []
    for _ in range(20):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        name, shown, *place = browser.execute_script(at)
        if name == "BODY" or name in [one for one, _ in seen]:
            break
        assert shown != "none", name
        seen.append((name, place))
    usable = browser.execute_script(
        "return [...document.querySelectorAll('a[href], button, input, summary, [tabindex=\"0\"]')]"
        ".map(e => e.id || e.dataset.at || e.tagName)"
    )
    assert [name for name, _ in seen] == usable
    assert {"0,0", "truth", "png"} <= set(usable)
    rows = [(round(top / 24), left) for _, (top, left) in seen]
    assert rows == sorted(rows)
