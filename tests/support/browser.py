"""A real headless Chromium, and how to look at what it shows."""

from __future__ import annotations

import base64
import importlib.util
import io
import os
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMEDRIVER = shutil.which("chromedriver")
SELENIUM = importlib.util.find_spec("selenium")
needs_browser = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER and SELENIUM), reason="no Chromium with its driver, or no selenium, on this machine"
)

FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
FLAGS += "--disable-component-update --disable-sync"
WIDE, PHONE = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER, env=os.environ | {"LANG": "C.UTF-8"}))
    yield driver
    driver.quit()


def show(browser, address: str, size: tuple[int, int] = WIDE, dark: bool = False) -> None:
    """Open a page on a screen of this size; nothing may be complained of, asked from a network, or stick out sideways."""
    media = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    screen = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size is PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.get(address)
    assert quiet(browser)
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def quiet(browser) -> bool:
    messages = browser.get_log("browser")
    assert not messages, messages
    return True


def canvas(browser, selector: str) -> np.ndarray:
    """Return what a canvas shows, (height, width, 4) with values from 0 to 255."""
    from matplotlib.image import imread

    url = browser.execute_script("return document.querySelector(arguments[0]).toDataURL()", selector)
    return (255 * imread(io.BytesIO(base64.b64decode(url.partition(",")[2])), format="png")).round().astype(int)


def pixels(browser, selector: str = "#picture") -> np.ndarray:
    """Return the grey levels of a canvas, row by row."""
    rgba = canvas(browser, selector).reshape(-1, 4)
    assert (rgba[:, :3] == rgba[:, :1]).all()
    assert (rgba[:, 3] == 255).all()
    return rgba[:, 0]
