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


@pytest.mark.browser
@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver on the PATH")
def test_in_a_browser(tmp_path):
    """A click shows prompt and alternatives, arrow keys move on, the truth can be hidden, PNG works, no errors."""
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.wait import WebDriverWait

    path = tmp_path / "page.html"
    path.write_text(page(worked.forecast(), (worked.LAST,), ACTION_GENOME, worked.TRUTH))
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'chromium'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        browser.get(path.as_uri())
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
    finally:
        browser.quit()
