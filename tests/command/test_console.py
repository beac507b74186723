"""The terminal: movement and colour where somebody looks, plain lines elsewhere."""

from __future__ import annotations

import os
import re
import select
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import minivae as mv

pty = pytest.importorskip("pty", reason="pseudo-terminals are a thing of Unix")

COLOUR = re.compile(rb"\x1b\[(?:\d+;)*(?:3[0-7]|9[0-7])(?:;\d+)*m")
UP = b"\x1b[1A"


def on_a_terminal(folder: Path, *arguments: str, **variables: str) -> tuple[int, bytes]:
    """Return exit code and everything that the command writes to a terminal of 100 columns."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            os.environ.pop(name, None)
        package = str(Path(mv.__file__).parents[1])
        os.environ.update({"TERM": "xterm-256color", "COLUMNS": "100", "PYTHONPATH": package} | variables)
        os.execv(sys.executable, [sys.executable, "-m", "minivae", *arguments])
    written, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 1)[0]:
            try:
                part = os.read(terminal, 65536)
            except OSError:  # Linux says so when the other side has closed
                break
            if not part:
                break
            written += part
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), written


@pytest.fixture
def data(tmp_path) -> list[str]:
    """Arguments of a training that takes a second or so, on few features."""
    np.save(tmp_path / "data.npy", np.random.default_rng(0).random((4000, 6)))
    return ["train", "--data", "data.npy", "--latent-dim", "3", "--hidden-dims", "16", "--epochs", "10", "--eval-samples", "2"]


@pytest.mark.slow
def test_a_terminal_shows_a_bar_and_a_line_of_terms_that_move(tmp_path, data):
    code, written = on_a_terminal(tmp_path, *data)
    assert code == 0
    assert b"VAE on data: 3200 training and 800 test examples of 6 features, 10 epochs" in written
    assert UP in written
    assert COLOUR.search(written)
    shown = re.search(rb"examples/s +\d+:\d\d left.*\r\n.*reconstruction -?\d+\.\d\d  KL \d+\.\d\d  ELBO -?\d+\.\d\d", written)
    assert shown
    assert re.search(rb"epoch \d+/10 ", written)
    ending = written[written.rindex(UP) :]  # the bar is wiped away, the table stays
    assert b"examples/s" not in ending
    assert b"test ELBO" in ending
    assert b"\x1b[?25h" in written  # the cursor is back


@pytest.mark.slow
def test_no_color_is_respected(tmp_path, data):
    code, written = on_a_terminal(tmp_path, *data, NO_COLOR="1")
    assert code == 0
    assert UP in written
    assert not COLOUR.search(written)


@pytest.mark.slow
def test_a_dumb_terminal_gets_plain_lines(tmp_path, data):
    code, written = on_a_terminal(tmp_path, *data, TERM="dumb")
    assert code == 0
    assert b"\x1b" not in written
    assert b"epoch 10/10  reconstruction" in written
