"""A real browser without a window: Debian's Chromium, driven by selenium."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)
# Longest wait for a page, in seconds: a limit for a page that hangs, on a machine of any speed.
PATIENCE = 120


class Browser:
    """A Chromium with one tab, whose console is read by `errors`."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path, *, dark: bool = False, width: int = 1280, height: int = 900) -> float:
        """Opens a report by its file:// address, waits until it is drawn, and returns the seconds it took."""
        self.media(dark)
        self.resize(width, height)
        began = time.perf_counter()
        self.driver.get(path.resolve().as_uri())
        self.wait(lambda: self.js("return document.documentElement.dataset.ready"))
        return time.perf_counter() - began

    def js(self, code: str, *arguments: Any) -> Any:
        return self.driver.execute_script(code, *arguments)

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[Any]:
        return list(self.driver.find_elements("css selector", selector))

    def wait(self, condition: Any) -> Any:
        """Calls a function until its result is true, and returns it."""
        deadline = time.monotonic() + PATIENCE
        while not (result := condition()):
            assert time.monotonic() < deadline, f"still waiting after {PATIENCE} s; console: {self.errors()}"
            time.sleep(0.03)
        return result

    def settle(self) -> None:
        """Waits for two frames, after which all that was asked for is drawn."""
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))"
        )

    def media(self, dark: bool) -> None:
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def resize(self, width: int, height: int, *, mobile: bool = False) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def press(self, selector: str) -> None:
        """Clicks an element in the middle of the window, where nothing covers it, and waits until it is drawn."""
        self.js("document.querySelector(arguments[0]).scrollIntoView({block: 'center', behavior: 'instant'})", selector)
        self.one(selector).click()
        self.settle()

    def move(self, selector: str, x: float, y: float, *, click: bool = False) -> None:
        """Moves the mouse to a place of an element, in pixels from its upper left corner, and clicks there if asked."""
        self.js("document.querySelector(arguments[0]).scrollIntoView({block: 'center', behavior: 'instant'})", selector)
        left, top = self.js("const b = document.querySelector(arguments[0]).getBoundingClientRect(); "
                            "return [b.left, b.top]", selector)  # fmt: skip
        event = {"x": left + x, "y": top + y, "button": "none"}
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", **event})
        if click:
            for kind in ("mousePressed", "mouseReleased"):
                pressed = {**event, "type": kind, "button": "left", "clickCount": 1}
                self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", pressed)
        self.settle()

    def errors(self) -> list[str]:
        """Returns the messages of the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Starts a Chromium with an empty profile; skips the test, with the reason, where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="the browser is driven by selenium")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("needs Debian's chromium and chromium-driver: apt-get install chromium chromium-driver")
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in (*FLAGS, f"--user-data-dir={profile}", "--window-size=1280,900"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
        try:
            driver.set_script_timeout(PATIENCE)
            yield Browser(driver)
        finally:
            driver.quit()
