"""The report in a real browser: it draws, searches, shows texts, runs nothing of the data and loads nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gip_gpu
from gip_gpu.report import write
from gip_gpu.selectors import KCenter, Random
from tests.support.browser import Browser, chromium
from tests.support.report_page import HOSTILE, SCRIPT, blobs, data_of, made

pytestmark = pytest.mark.slow
PHONE = (360, 740)
# Colours of the pixels of the map that are not empty, and the number of those pixels.
COLOURS = """
const { width, height } = document.getElementById("points");
const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
copy.drawImage(document.getElementById("points"), 0, 0);
const pixels = new Uint32Array(copy.getImageData(0, 0, width, height).data.buffer);
const seen = new Set();
let drawn = 0;
for (const pixel of pixels) if (pixel >>> 24) { drawn++; seen.add(pixel); }
return [drawn, seen.size];
"""
# Number of elements to operate that are too low for a finger.
SMALL = """
return [...document.querySelectorAll("button, select, input:not([type=range])")].filter((one) =>
  one.checkVisibility() && one.getBoundingClientRect().height < 30
).length;
"""
# Milliseconds from a click to the frame after the one that it draws.
FRAME = """
const began = performance.now(), done = arguments[1];
document.getElementById(arguments[0]).click();
requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - began)));
"""
# Elements to operate that a screen reader could not name.
NAMELESS = """
return [...document.querySelectorAll("button, input, select, canvas[tabindex], a, [role=img]")].filter((one) =>
  !(one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.[0]?.textContent.trim())
).map((one) => one.outerHTML.slice(0, 200));
"""
# Contrast of text with its background after WCAG, the smallest of all elements with own text.
CONTRAST = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (one) => {
  for (; one; one = one.parentElement) {
    const hue = parse(getComputedStyle(one).backgroundColor);
    if (hue.length === 3 || hue[3] > 0) return hue;
  }
};
let worst = [99, ""];
for (const one of document.querySelectorAll("body *")) {
  const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!own || !one.checkVisibility() || one.disabled || one.closest("svg, script")) continue;
  const [a, b] = [light(parse(getComputedStyle(one).color)), light(behind(one))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < worst[0]) worst = [ratio, one.outerHTML.slice(0, 200)];
}
return worst;
"""


@dataclass
class Report:
    """A report of 300 rows with hostile texts among plain ones."""

    path: Path
    chosen: gip_gpu.Selection
    F: NDArray[np.float32]
    texts: list[str]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    texts = [HOSTILE[i // 3 % len(HOSTILE)] if i % 3 == 0 else f"plain row {i} of the pool" for i in range(300)]
    folder = tmp_path_factory.mktemp("report")
    path, chosen, F = made(
        folder, texts=texts, title=SCRIPT, command=f"gip-gpu select {SCRIPT}", score_names=[SCRIPT],
        groups=[SCRIPT, "", "\u05e9\u05dc\u05d5\u05dd"] * 100, stability={"bf16": "3 of 40 change"},
    )  # fmt: skip
    return Report(path, chosen, F, texts)


def detail(browser: Browser) -> str:
    return str(browser.js("return document.getElementById('detail').textContent"))


def go_to(browser: Browser, row: int) -> None:
    """Shows a row by its number, as a user does."""
    box = browser.one("#go-row")
    box.clear()
    box.send_keys(str(row), "\n")
    browser.settle()


def test_it_draws_without_a_message_on_the_console(browser: Browser, report: Report) -> None:
    browser.open(report.path)
    drawn, colours = browser.js(COLOURS)
    assert drawn > 300
    assert colours > 10
    assert len(browser.all("#rows tr")) == 25
    for name in ("gain-chart", "explained-chart", "reach-chart", "lead-chart"):
        assert browser.js("return document.getElementById(arguments[0]).querySelectorAll('path, rect').length", name)
    assert browser.one("#failed").is_displayed() is False
    assert browser.errors() == []


@pytest.mark.parametrize("method", [Random(0), KCenter(first=0)], ids=str)
def test_a_selection_without_a_certificate(browser: Browser, tmp_path: Path, method: Random | KCenter) -> None:
    F = blobs(60)
    browser.open(write(method.select(F, None, 12), tmp_path / "report.html", F))
    assert len(browser.all("#rows tr")) == 12
    leads = browser.js("return [...document.querySelectorAll('#rows tr')].map((row) => row.textContent)")
    assert all("none" in text for text in leads)
    go_to(browser, int(method.select(F, None, 1)[0]))
    assert re.search(r"lead over the runner-up\s*none", detail(browser))
    assert len(browser.all("#gain-chart path")) == isinstance(method, KCenter)
    assert browser.one("#failed").is_displayed() is False
    assert browser.errors() == []


def test_search_filters_the_table(browser: Browser, report: Report) -> None:
    browser.open(report.path)
    wanted = [i for i in report.chosen if report.texts[i].startswith("plain row")]
    assert 0 < len(wanted) < 40
    search = browser.one("#search")
    search.send_keys("PLAIN pool")
    browser.wait(lambda: browser.one("#found").text == f"{len(wanted)} of 40 picks")
    first = browser.one("#rows tr .text").text
    assert first == report.texts[wanted[0]]
    assert [mark.text for mark in browser.all("#rows tr:first-child mark")] == ["plain", "pool"]
    search.clear()
    search.send_keys("no such words (.*")
    browser.wait(lambda: browser.one("#found").text == "0 of 40 picks")
    assert browser.one("#rows").text == "No pick has these words."
    search.clear()
    search.send_keys(" ")
    browser.wait(lambda: browser.one("#found").text == "40 picks")
    assert browser.errors() == []


def test_the_table_is_sorted_and_turned(browser: Browser, report: Report) -> None:
    browser.open(report.path)
    ranks = "return [...document.querySelectorAll('#rows tr')].map((row) => Number(row.dataset.rank))"
    assert browser.js(ranks) == list(range(25))
    browser.press("#after")
    assert browser.js(ranks) == list(range(25, 40))
    assert browser.one("#after").is_enabled() is False
    browser.press("#sort option:nth-child(2)")
    by_row = np.argsort(report.chosen.indices)
    assert browser.js(ranks) == by_row[:25].tolist()


def test_any_row_is_shown_with_its_nearest_pick(browser: Browser, report: Report) -> None:
    browser.open(report.path)
    data = data_of(report.path)
    for row in (1, 4, 200):
        if row in report.chosen:
            continue
        go_to(browser, row)
        said = detail(browser)
        rank = int(data["nearest"][row])
        cosine = data["cosine"][row] / 65535 * 2 - 1
        assert said.startswith(f"Row {row}")
        assert report.texts[row] in said
        assert f"cosine {cosine:.3f}" in said
        browser.js("[...document.querySelectorAll('#detail button')].at(-1).click()")
        assert detail(browser).startswith(f"Pick {rank + 1}, row {report.chosen[rank]}")
    browser.one("#go-row").clear()
    go_to(browser, 299)
    browser.js("document.getElementById('go-row').removeAttribute('max')")
    go_to(browser, 12345)
    assert detail(browser) == "Row 12345 is not among the rows shown."


def places(browser: Browser, report: Report) -> list[list[float]]:
    """Places of the picks on the map in pixels, found as a user finds them: strokes of their rings."""
    data = data_of(report.path)
    width, height = browser.js("const c = document.getElementById('marks'); return [c.clientWidth, c.clientHeight]")
    x, y = (data[axis].astype(float) for axis in "xy")
    scaled = [(values - values.min()) / np.ptp(values) * (size - 36) + 18 for values, size in ((x, width), (y, height))]
    return np.stack(scaled, axis=1).tolist()


def test_hover_and_click_show_a_text(browser: Browser, report: Report) -> None:
    browser.open(report.path)
    at = np.array(places(browser, report))
    # A pick with no other pick around, so that the mouse is on it alone.
    rank = next(r for r, i in enumerate(report.chosen)
                if report.texts[i].startswith("plain")
                and np.sort(np.hypot(*(at[report.chosen.indices] - at[i]).T))[1] > 25)  # fmt: skip
    row = report.chosen[rank]
    browser.move("#marks", *at[row])
    tip = browser.one("#tip")
    assert tip.is_displayed()
    assert tip.text == f"Pick {rank + 1}, row {row}\n{report.texts[row]}"
    browser.move("#marks", *at[row], click=True)
    assert detail(browser).startswith(f"Pick {rank + 1}, row {row}")
    assert report.texts[row] in detail(browser)
    browser.move("h1", 5, 5)
    assert not tip.is_displayed()
    assert browser.errors() == []


def test_the_map_zooms_moves_and_counts_picks(browser: Browser, report: Report) -> None:
    browser.open(report.path)
    whole = browser.js(COLOURS)
    canvas = browser.one("#marks")
    canvas.send_keys("++++++++")
    browser.settle()
    assert browser.js(COLOURS)[0] != whole[0]
    canvas.send_keys("0")
    browser.settle()
    assert browser.js(COLOURS) == whole
    browser.js("const r = document.getElementById('first'); r.value = 0; r.dispatchEvent(new Event('input'))")
    browser.settle()
    assert browser.one("#count").text == "0"
    assert browser.js(COLOURS)[0] < whole[0]
    for option in browser.all("#colour option"):
        option.click()
        browser.settle()
        assert browser.js(COLOURS)[0] > 100
        assert browser.one("#legend").text
    browser.press("#play")
    browser.wait(lambda: int(browser.one("#count").text) > 3)
    browser.press("#play")
    assert browser.one("#play").text == "Play"
    assert browser.errors() == []


def test_it_works_by_keyboard_and_names_all_it_has(browser: Browser, report: Report) -> None:
    browser.open(report.path)
    browser.one("#marks").send_keys("nn")
    assert detail(browser).startswith(f"Pick 3, row {report.chosen[2]}")
    browser.one("#marks").send_keys("b")
    assert detail(browser).startswith(f"Pick 2, row {report.chosen[1]}")
    assert browser.js(NAMELESS) == []
    headings = browser.js("return [...document.querySelectorAll('h1, h2, h3')].map((h) => Number(h.tagName[1]))")
    assert headings[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))


def test_nothing_of_the_data_runs(browser: Browser, report: Report) -> None:
    browser.open(report.path)
    assert browser.driver.title == " ".join(SCRIPT.split())
    assert browser.one("h1").text == SCRIPT
    huge = next(i for i, text in enumerate(report.texts) if len(text) > 100_000)
    for i in [*range(0, 30, 3), huge]:
        go_to(browser, i)
        said = detail(browser)
        text = report.texts[i]
        if not text.strip():
            assert "(empty)" in said
        elif len(text) > 100_000:
            assert "more characters" in said
        elif "\0" in text:
            assert "null \u2400 byte, bell \u2407" in said
        else:
            assert text.encode("utf-8", "replace").decode() in said
    for _ in range(2):
        browser.js("document.querySelectorAll('#rows details').forEach((one) => one.open = true)")
        browser.settle()
    assert browser.js("return window.hacked ?? null") is None
    assert (
        browser.js("return document.querySelectorAll('main img, main script, main b:not(#tip b), main iframe').length")
        == 0
    )
    assert browser.errors() == []


def test_nothing_is_loaded_and_nothing_could_be(browser: Browser, report: Report) -> None:
    browser.open(report.path)
    assert browser.js("return performance.getEntriesByType('resource').map((one) => one.name)") == []
    asked = "const done = arguments[0]; fetch('http://127.0.0.1:9/').then(() => done('sent'), (e) => done(e.message))"
    assert browser.driver.execute_async_script(asked) == "Failed to fetch"
    browser.js(
        "const s = document.createElement('script'); s.textContent = 'window.hacked = 4'; document.body.append(s)"
    )
    assert browser.js("return window.hacked ?? null") is None
    refused = browser.errors()
    assert len(refused) >= 2
    assert all("Content Security Policy" in message or "127.0.0.1:9" in message for message in refused)


@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark(dark: bool, browser: Browser, report: Report) -> None:
    browser.open(report.path, dark=dark)
    shade = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number).reduce((a, b) => a + b)"
    assert (browser.js(shade) < 200) == dark
    for _ in range(2):
        ratio, element = browser.js(CONTRAST)
        assert ratio >= 4.5, element
        before = browser.js(COLOURS)
        browser.press("#theme")
        browser.settle()
        assert browser.js(COLOURS)[1] > 10
        assert browser.js(COLOURS) != before
    assert (browser.js(shade) < 200) == dark


def test_a_phone_needs_no_scrolling_to_the_side(browser: Browser, report: Report) -> None:
    browser.open(report.path, width=PHONE[0], height=PHONE[1])
    assert browser.js("return [document.documentElement.scrollWidth, innerWidth]") == [PHONE[0], PHONE[0]]
    small = browser.js(SMALL)
    assert small == 0
    assert browser.js(COLOURS)[0] > 300
    assert browser.errors() == []


def test_52_000_rows(browser: Browser, tmp_path: Path, record_property: Any) -> None:
    rng = np.random.default_rng(0)
    F = np.repeat(blobs(13_000), 4, axis=0) + rng.normal(size=(52_000, 8)).astype(np.float32) / 4
    G = gip_gpu.signals.self_compression(F)
    chosen = gip_gpu.select(F, G, 520, device="cpu")
    texts = [f"row {i} of fifty-two thousand, with a text of the usual length of an instruction" for i in range(52_000)]
    path = write(chosen, tmp_path / "large.html", F, G, texts=texts)
    seconds = browser.open(path)
    drawn, _ = browser.js(COLOURS)
    assert drawn > 20_000
    zoomed = browser.driver.execute_async_script(FRAME, "in")
    go_to(browser, 51_999)
    assert detail(browser).startswith("Row 51,999")
    assert texts[51_999] in detail(browser)
    for name, value in (("open", seconds), ("zoom", zoomed / 1000), ("megabytes", path.stat().st_size / 1e6)):
        record_property(f"report_52000_{name}", round(value, 3))
    print(f"52,000 rows: drawn {seconds:.2f} s after opening, zoomed in {zoomed:.0f} ms, {path.stat().st_size:,} bytes")
    assert browser.errors() == []


def test_a_damaged_page_says_so(browser: Browser, report: Report, tmp_path: Path) -> None:
    page = report.path.read_text()
    at = page.index('"x":{"type":"Uint16Array","data":"') + 40
    damaged = tmp_path / "damaged.html"
    damaged.write_text(page[:at] + "AAAA" + page[at + 4 :])
    browser.driver.get(damaged.as_uri())
    browser.wait(lambda: browser.one("#failed").is_displayed())
    assert browser.one("#failed").text.startswith("The data of this page cannot be shown")
    browser.errors()
