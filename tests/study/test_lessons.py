"""The commands that teach and show: ``explain`` in its three forms, ``report`` and ``explore``."""

from __future__ import annotations

import json

import pytest

from minivae.command.cli import main
from minivae.study import guide, trace

pytestmark = pytest.mark.slow  # whole pages


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> str:
    """The name of a run, made the way a user makes one."""
    folder = tmp_path_factory.mktemp("runs")
    command = "train --latent-dim 3 --hidden-dims 16 --epochs 2 --eval-samples 2 --name mine --quiet --runs-dir"
    assert main([*command.split(), str(folder)]) == 0
    return str(folder / "mine")


def said(capsys, *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    return code, *capsys.readouterr()


def test_explain_alone_is_the_path(capsys):
    code, out, err = said(capsys, "explain")
    assert (code, err) == (0, "")
    assert out.split() == "\n".join(guide.lines()).split()
    _, out, _ = said(capsys, "explain", "--json")
    assert [step["tag"] for step in json.loads(out)["steps"]] == [step.tag for step in guide.reading_order()]


def test_explain_trace_is_the_step(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = said(capsys, "explain", "--trace")
    assert code == 0
    for row in trace.trace().gradients:
        assert f"{row.gradient:.9f}" in out
        assert f"{row.slope:.9f}" in out
    _, out, _ = said(capsys, "explain", "--trace", "--json")
    record = json.loads(out)
    assert len(record["gradients"]) == len(trace.trace().gradients)
    assert record["values"]["x"] == trace.EXAMPLE["x"]


def test_explain_wants_an_op_or_the_trace(capsys):
    code, out, err = said(capsys, "explain", "dense", "--trace")
    assert (code, out) == (2, "")
    assert err == "minivae: --trace: expected no operation with it, got 'dense'; give one or the other\n"


@pytest.mark.parametrize("command", ["report", "explore"])
def test_pages_go_into_the_run_or_where_they_are_asked_to(capsys, run, command, tmp_path):
    code, out, _ = said(capsys, command, run)
    assert (code, out) == (0, f"{run}/{command}.html\n")
    elsewhere = tmp_path / "page.html"
    _, out, _ = said(capsys, command, run, "--out", str(elsewhere), "--json")
    assert json.loads(out) == {"run": run, "file": str(elsewhere)}
    with open(f"{run}/{command}.html", encoding="utf-8") as page:
        assert page.read() == elsewhere.read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["report", "explore"])
def test_a_page_that_cannot_be_written_is_one_complaint(capsys, run, command, tmp_path):
    code, out, err = said(capsys, command, run, "--out", str(tmp_path / "missing" / "page.html"))
    assert (code, out) == (2, "")
    assert err.startswith("minivae: ")
    assert err.count("\n") == 1
    with pytest.raises(SystemExit):
        main([command, run, "--out", "page.png"])
    assert "expected a file name that ends in .html, got 'page.png'" in capsys.readouterr().err
