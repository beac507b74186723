"""The book: a page for every equation with nothing missing, true to the source, and every page shown by a real browser."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys
import urllib.parse
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from support.browser import PHONE, WIDE, needs_browser, quiet, show

import minivae
from minivae.models import MODELS
from minivae.ops import ALL_OPS, SURROGATE_GRADIENTS, kl_standard_normal
from minivae.pages.book import figures, museum
from minivae.study import experiments, guide, source
from minivae.study.explain import explain

pytestmark = pytest.mark.slow  # making the book takes most of a minute

TAGS = list(guide.equations())
PANES = ("equation", "why", "line", "check", "bugs", "numbers")
LARGEST = 1_000_000  # bytes


class Reader(HTMLParser):
    """Collects links, ids, and the text of every pane."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.panes: dict[str, str] = {}
        self.lit: list[str] = []
        self._pane, self._lit = "", False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "a":
            self.links.append(attributes["href"])
        if "id" in attributes:
            assert attributes["id"] not in self.ids
            self.ids.add(attributes["id"])
        if tag == "section":
            self._pane = attributes.get("aria-labelledby", "")
        if tag == "mark":
            self.lit.append("")
            self._lit = True

    def handle_endtag(self, tag):
        if tag == "mark":
            self._lit = False

    def handle_data(self, data):
        self.panes[self._pane] = self.panes.get(self._pane, "") + data
        if self._lit:
            self.lit[-1] += data


def read(path: Path) -> Reader:
    return Reader(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("tag", TAGS)
def test_every_equation_has_a_line_a_check_and_a_page(book, tag):
    equation = guide.equations()[tag]
    assert equation.lines, f"no line of code carries # ({tag})"
    reader = read(book / f"{tag}.html")
    for pane in PANES:
        assert len(reader.panes[pane]) > 20, pane
    assert any(f"({tag})" in line for line in reader.lit), "the line is not lit"
    number = equation.place.rpartition(":")[2]
    assert any(line.startswith(number) for line in reader.lit)
    gradients = re.findall(r"\d\.\de-\d\d", reader.panes["check"])
    assert gradients or source.tests_of(tag), "neither a gradient that was measured nor a test that carries the tag"
    assert bool(source.cuda_twins(tag)) == ("in CUDA" in reader.panes["line"])


def test_every_op_and_model_has_a_page(book):
    for name in ALL_OPS | SURROGATE_GRADIENTS:
        assert name in (book / f"op-{name}.html").read_text(encoding="utf-8")
    for name in MODELS:
        assert name in (book / f"model-{name}.html").read_text(encoding="utf-8")


def test_links_resolve_and_pages_are_light(book):
    for path in book.iterdir():
        assert path.stat().st_size < LARGEST
        for link in read(path).links:
            file, _, anchor = urllib.parse.unquote(link).partition("#")
            target = book / (file or path.name)
            assert target.is_file(), f"{path.name} → {link}"
            assert not anchor or anchor in read(target).ids, f"{path.name} → {link}"


def test_errors_are_those_measured(book, measured):
    rows = [row for row in measured.rows if row.name == "kl_standard_normal"]
    text = read(book / "K.1.html").panes["check"]
    for row in rows:
        assert f"{row.relative_error:.1e}" in text


def test_a_test_that_was_run_is_reported(book):
    assert "passed" in read(book / "K.4.html").panes["check"]
    assert "not run" in read(book / "K.3.html").panes["check"]


def test_exhibits_stand_where_they_belong(book):
    assert "standard deviation = exp(log_var)" in (book / "R.1.html").read_text(encoding="utf-8").lower()
    wall = (book / "museum.html").read_text(encoding="utf-8")
    for bug in museum.exhibits():
        assert museum.functions_of(bug), bug.name
        assert bug.effect.split("<")[0][:30] in wall


@needs_browser
def test_every_page_is_shown_without_a_complaint_and_fits_a_phone(browser, book):
    for i, path in enumerate(sorted(book.iterdir())):
        show(browser, path.as_uri(), WIDE, dark=bool(i % 2))
        assert browser.find_elements("tag name", "h1"), path.name
        screen = {"width": PHONE[0], "height": PHONE[1], "deviceScaleFactor": 1, "mobile": True}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), path.name
        assert quiet(browser)


@needs_browser
def test_search_finds_tags_titles_and_formulas(browser, book):
    show(browser, (book / "index.html").as_uri())
    field = browser.find_element("id", "search")
    for typed, expected in (("k.2", "K.2.html"), ("softplus", "op-softplus.html"), ("squared error", "L.5.html")):
        field.clear()
        field.send_keys(typed)
        links = [a.get_attribute("href") for a in browser.find_elements("css selector", "#found a")]
        assert any(link.endswith(f"/{expected}") for link in links), (typed, links)
    field.send_keys("\n")
    assert browser.current_url.endswith(".html")
    assert "index" not in browser.current_url


@needs_browser
def test_headings_go_down_step_by_step_and_formulas_are_mathml(browser, book):
    show(browser, (book / "K.1.html").as_uri())
    levels = browser.execute_script("return [...document.querySelectorAll('h1,h2,h3')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    height = browser.execute_script("return document.querySelector('.equation msubsup').getBoundingClientRect().height")
    assert height > 5


@needs_browser
def test_numbers_agree_with_python_on_every_page_and_follow_what_is_typed(browser, book):
    for name in ALL_OPS:
        show(browser, (book / f"op-{name}.html").as_uri())
        assert "Agrees with Python" in browser.find_element("css selector", ".worked").text, name
        assert browser.find_elements("css selector", ".grid small.pass"), name
        assert not browser.find_elements("css selector", ".grid small.wrong"), name
    show(browser, (book / "K.1.html").as_uri())
    it = explain("kl_standard_normal")
    fields = browser.find_elements("css selector", ".worked input")
    fields[0].clear()
    fields[0].send_keys("1.75")
    mean = it.inputs["mean"].copy()
    mean[0, 0] = 1.75
    expected = kl_standard_normal(mean, it.inputs["log_var"]).data
    shown = [float(output.text.replace("−", "-")) for output in browser.find_elements("css selector", ".worked output")]
    np.testing.assert_allclose(shown, expected, rtol=1e-5)
    gradient = browser.find_element("css selector", ".worked small").text.removeprefix("∂ ").replace("−", "-")
    assert float(gradient) == pytest.approx(1.75 * it.cotangent[0], rel=1e-5)
    assert quiet(browser)


def said_after(browser, key: str, label: str) -> str:
    """Move a slider of the figure to one of its ends and return what the figure says."""
    slider = browser.find_element("css selector", f".moving input[aria-label='{label}']")
    slider.send_keys(key)
    return browser.find_element("css selector", ".said").text.replace("−", "-")


@needs_browser
def test_figures_move_and_say_what_python_says(browser, book):
    from selenium.webdriver.common.keys import Keys

    show(browser, (book / "K.1.html").as_uri())
    said_after(browser, Keys.END, "μ")
    said = said_after(browser, Keys.HOME, "log σ²")
    kl = kl_standard_normal(np.array([4.0]), np.array([-4.0])).data
    assert f"KL = {float(kl):.4g}" in said
    show(browser, (book / "L.1.html").as_uri())
    assert "the worst mistakes teach nothing" in said_after(browser, Keys.HOME, "logit ℓ")
    assert "slope -1." in said_after(browser, Keys.HOME, "logit ℓ")
    show(browser, (book / "M.5.html").as_uri())
    last = experiments.trained(experiments.BETAS[-1])
    assert f"ELBO {last.elbo:.4g}" in said_after(browser, Keys.END, "β")
    show(browser, (book / "M.6.html").as_uri())
    assert f"k = {experiments.SAMPLES[-1]}" in said_after(browser, Keys.END, "k")
    for name in figures.FIGURES:
        show(browser, (book / f"{name}.html").as_uri())
        before = browser.find_element("css selector", ".moving").get_attribute("innerHTML")
        for slider in browser.find_elements("css selector", ".moving input"):
            slider.send_keys(Keys.END)
        assert browser.find_element("css selector", ".moving").get_attribute("innerHTML") != before
        assert quiet(browser)


@needs_browser
def test_a_training_step_is_walked_through(browser, book):
    show(browser, (book / "trace.html").as_uri())
    buttons = browser.find_elements("css selector", "#walk button")
    buttons[0].click()
    buttons[2].click()
    rows = browser.execute_script("return [...document.querySelectorAll('.stepped tbody tr')].map(row => row.className)")
    assert rows[:3] == ["", "now", "pale"]


def test_without_the_tests_and_benchmarks_the_book_is_made_too(tmp_path):
    """As on a fresh installation: the package alone, elsewhere."""
    shutil.copytree(Path(minivae.__file__).parent, tmp_path / "minivae", ignore=shutil.ignore_patterns("__pycache__"))
    code = "from pathlib import Path; from minivae.pages.book import make, evidence; "
    code += "evidence.verify.check_models = lambda: []; print(len(make.make(Path('book'))))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "book" / "K.1.html").read_text(encoding="utf-8")
    assert "installed without" in text
    assert museum.ABSENT in text
