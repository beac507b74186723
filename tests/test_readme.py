"""The README, done as it says: a newcomer who copies its commands and snippets, and nothing else, gets what it promises.

The two commands under "Set up" make an environment of their own; ``.ci/run`` reads them out of the README and runs them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys
from support import attacks
from support.browser import needs_browser, pixels, show
from support.helpers import MNIST, needs_mnist
from support.touched import ALWAYS, select

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXTENDING = (ROOT / "minivae" / "study" / "extending.md").read_text(encoding="utf-8")


def blocks(kind: str, word: str = "", page: str = README) -> list[str]:
    found = re.findall(r"^```(\w+)\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language == kind and word in text]


def in_bash(text: str) -> tuple[str, ...]:
    return ("bash", "-euo", "pipefail", "-c", text)


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory):
    """A folder to work in, where ``minivae`` is on the path; call it with a script to run it."""
    home = tmp_path_factory.mktemp("newcomer")
    (home / "bin").mkdir()
    for name, options in (("minivae", "-m minivae"), ("python", "")):
        command = home / "bin" / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {options} "$@"\n')
        command.chmod(0o755)
    path = f"{home / 'bin'}:{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path, "MINIVAE_DATA": str(MNIST)}

    def run(*script: str) -> str:
        done = subprocess.run(script, cwd=home, env=environment, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr[-2000:]
        assert "Traceback" not in done.stderr
        return done.stdout

    run.home = home
    return run


@pytest.fixture(scope="module")
def commands_ran(newcomer):
    (text,) = blocks("bash", "--name two")
    return newcomer(*in_bash(text))


def test_set_up_is_two_commands_of_one_line():
    section = README.partition("## Set up")[2].partition("## ")[0]
    commands = blocks("bash", page=section)
    assert [text.count("\n") for text in commands] == [1, 1]
    assert commands[0].rstrip().endswith("minivae train")
    assert all("install --quiet -e " in command for command in commands)  # an edit has to reach what is checked
    assert "pytest" in commands[1].rsplit("&&", 1)[1]


@pytest.mark.slow
@pytest.mark.parametrize("code", blocks("python"))
def test_snippet_runs(newcomer, code):
    newcomer(sys.executable, "-W", "error", "-c", code)


@pytest.mark.slow
@pytest.mark.parametrize("code", blocks("python", page=EXTENDING), ids=["op", "likelihood", "model"])
def test_extension_takes_25_lines_and_runs(newcomer, code):
    assert code.count("\n") <= 25
    newcomer(sys.executable, "-W", "error", "-c", code)


@pytest.mark.slow
@pytest.mark.parametrize("door", ["minivae explain", "minivae gradcheck", "python -m benchmarks"])
def test_each_door_opens(newcomer, door):
    (text,) = [text for text in blocks("bash") if text.startswith(door)]
    assert newcomer(*in_bash(text))


@pytest.mark.slow
def test_commands_of_a_working_day_are_what_the_tools_take():
    """Pytest only collects here: the tests themselves run all the time."""
    (text,) = blocks("bash", "touched.py")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PYTEST_ADDOPTS": "--collect-only", "PATH": path}
    done = subprocess.run(in_bash(text), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.parametrize(
    ("files", "tests"),
    [
        (["minivae/ops/kl.py", "minivae/ops/dense.py"], ["tests/ops"]),
        (["minivae/nn.py", "README.md"], ["tests/test_nn.py", "tests/test_readme.py"]),
        (["minivae/pages/web/page.css", "benchmarks/cpu/ops.py"], ["tests/benchmarks", "tests/pages"]),
        (["tests/models/test_vae.py", "tests/support/helpers.py"], ["tests/models/test_vae.py"]),
        (["setup.cfg", "minivae/py.typed", "minivae/ops/gone.py", "tests/ops/gone.py"], ["tests/ops"]),
    ],
)
def test_touched_files_lead_to_the_tests_of_their_rooms(files, tests):
    assert select(files) == [*ALWAYS, *tests]


def test_readme_is_short_and_its_links_lead_somewhere():
    assert len(README.splitlines()) <= 150
    for page in (ROOT / "README.md", ROOT / "minivae/study/extending.md", ROOT / "benchmarks/results/README.md"):
        for target in re.findall(r"\]\((?!http)(.*?)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.slow
def test_commands_run_and_leave_what_they_promise(newcomer, commands_ran):
    left = {path.name for path in (newcomer.home / "runs" / "two").iterdir()}
    pictures = {f"{name}.png" for name in ("curves", "reconstructions", "samples", "manifold", "latent_map")}
    pictures |= {f"{name}.png" for name in ("sample", "reconstruct", "interpolate", "traverse")}
    assert pictures | {"model.safetensors", "config.json", "history.csv", "report.html", "explore.html"} <= left
    assert "test ELBO" in commands_ran


@pytest.mark.slow
@needs_browser
def test_newcomer_moves_a_slider(newcomer, commands_ran, browser):
    show(browser, (newcomer.home / "runs" / "two" / "explore.html").as_uri())
    before = pixels(browser)
    slider = browser.find_element("css selector", "input[type=range]")
    slider.send_keys(Keys.ARROW_RIGHT * 20)
    assert (pixels(browser) != before).any()


@pytest.mark.slow
@needs_mnist
def test_mnist_command_lands_where_the_reference_does(newcomer):
    """Ten epochs of pytorch/examples' VAE ended at 105.21, 105.66 and 105.77 with three seeds; the gate is a nat around them."""
    (text,) = blocks("bash", "--data mnist")
    figures = json.loads(newcomer(*in_bash(text)).splitlines()[-1])
    assert 104.7 < figures["test_loss"] < 106.3
    assert figures["log_likelihood"] > figures["test_elbo"]


@pytest.mark.slow
def test_gpu_section_names_extras_that_exist():
    """Without a GPU its commands cannot be run; the extras that they install are declared, at least."""
    (text,) = blocks("text", "pip install")
    extras = re.findall(r"\[(cuda\d+)\]", text)
    declared = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    assert extras
    assert all(re.search(rf"^{extra} = cupy", declared, flags=re.MULTILINE) for extra in extras)


@pytest.mark.slow
def test_page_of_what_was_tried_has_a_row_of_every_test_that_counts():
    """The figures are what the tests printed when the page was written; a test that came later, or is gone, asks for it anew."""
    page = attacks.PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"\| `([\w/.:]+)` \|$", page, flags=re.MULTILINE))
    assert named == {test.removeprefix("tests/") for file in attacks.FILES for test in attacks.printing(file)}
    assert page.startswith(attacks.HEAD)
    assert "benchmarks/results/attacks.md" in README
