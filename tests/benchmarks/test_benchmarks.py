"""Each benchmark writes its table and its plot; wrong options and folders are refused before anything is measured."""

from __future__ import annotations

import itertools
import math
import re
import sys

import pytest
from support.tables import comments_of, rows_of

from benchmarks import __main__ as command
from benchmarks.cpu import memory, peers, scaling, scripts, step
from minivae.checks import installing


@pytest.mark.slow
def test_ops_are_timed_both_ways(benchmark):
    folder = benchmark("ops", "--only", "dense", "add", "bernoulli_nll")
    rows = rows_of(folder / "ops.csv")
    noted = {line.partition(":")[0] for line in comments_of(folder / "ops.csv")}
    assert noted == {"# date", "# processor", "# threads", "# versions", "# mode"}
    expected = itertools.product(("dense", "add", "bernoulli_nll"), ("forward", "backward"))
    assert [(row["op"], row["pass"]) for row in rows] == list(expected)
    assert all(float(row["µs"]) > 0 for row in rows)
    assert [row["MB"] == "a view" for row in rows] == [False, False, False, True, False, False]
    assert [bool(row["GFLOP/s"]) for row in rows] == [True, True, False, False, False, False]
    plain = rows_of(folder / "ops_plain.csv")
    assert {row["what"].partition(":")[0].partition(",")[0] for row in plain} == {"dense", "bernoulli_nll", "Adam"}
    assert is_picture(folder / "ops.png")


@pytest.mark.slow
def test_step_is_taken_apart(benchmark):
    folder = benchmark("step")
    rows = rows_of(folder / "step.csv")
    seconds = {row["part"].partition(":")[0]: float(row["µs"]) for row in rows}
    assert list(seconds) == [*step.PARTS, "sum of parts", "whole step", "products alone", "tape"]
    assert [row["part"] for row in rows if row["page faults"]] == ["whole step"]
    *_, tape = rows
    nodes, each = map(float, re.fullmatch(r"tape: (\d+) nodes at (\S+) µs", tape["part"]).groups())
    assert seconds.pop("tape") == pytest.approx(nodes * each, rel=6e-2)  # two digits are printed; a difference has any sign
    assert min(seconds.values()) > 0
    assert seconds["sum of parts"] == pytest.approx(sum(seconds[part] for part in step.PARTS), rel=1e-2)  # four digits are printed
    assert is_picture(folder / "step.png")


@pytest.mark.slow
def test_peers_take_turns_after_they_have_agreed(benchmark):
    names = ["minivae", "GEMMs alone"]
    folder = benchmark("peers", "--work", "B", "--only", *names)
    (path,) = folder.glob("peers-*-cores.csv")
    rows = rows_of(path)
    assert [row["contender"] for row in rows] == names
    ours, *_ = times = [float(row["ms"]) for row in rows]
    for row, ms in zip(rows, times):
        assert float(row["minivae / it"]) == pytest.approx(ours / ms, rel=1e-2)  # four digits are printed
    assert is_picture(path.with_suffix(".png"))


def test_a_peer_that_computes_something_else_is_not_timed(benchmark, monkeypatch):
    monkeypatch.setattr(peers, "reference_losses", lambda workload: [1.0] * 4)
    with pytest.raises(SystemExit, match="minivae computes something else"):
        benchmark("peers", "--work", "B", "--only", "minivae")


def test_memory_without_mnist_says_so(benchmark, capsys, monkeypatch):
    monkeypatch.delenv("MINIVAE_DATA", raising=False)
    folder = benchmark("memory")
    rows = rows_of(folder / "memory_import.csv")
    assert [row["import"] for row in rows] == ["numpy", "minivae"]
    assert all(float(row["ms"]) > 1 for row in rows)
    assert "MINIVAE_DATA" in " ".join(capsys.readouterr().out.split())
    assert not (folder / "memory.csv").exists()


def test_memory_refuses_a_folder_without_the_file(benchmark, tmp_path):
    with pytest.raises(SystemExit, match=f"expected a folder with {scripts.FILE}"):
        benchmark("memory", "--data-dir", str(tmp_path))


@pytest.mark.slow
def test_memory_runs_whole_scripts_and_reports_who_is_absent(benchmark, images, capsys, monkeypatch):
    monkeypatch.setattr(memory.importlib.util, "find_spec", lambda name: True if name == "minivae" else None)
    folder = benchmark("memory", "--epochs", "3", "--data-dir", str(images))
    (row,) = rows_of(folder / "memory.csv")
    assert row["script"] == "minivae"
    assert float(row["start"]) + float(row["read"]) + float(row["train"]) == pytest.approx(float(row["s"]), rel=1e-2)
    assert 0 < float(row["loss"]) < 784 * math.log(2)
    assert 20 < float(row["peak MB"]) < 400
    assert is_picture(folder / "memory.png")
    printed = capsys.readouterr().out
    for peer in ("torch", "jax"):
        assert f"{peer}: absent, it is not installed ({installing('bench')})" in printed


@pytest.mark.slow
def test_scaling_fits_exponents(benchmark):
    folder = benchmark("scaling", "--axis", "rows", scaling.LIKELIHOOD)
    rows = rows_of(folder / "scaling.csv")
    assert [int(row["size"]) for row in rows] == [*scaling.AXES["rows"].sizes[:3], *2 * scaling.LIKELIHOOD_ROWS[:3]]
    fits = rows_of(folder / "scaling_fits.csv")
    assert [row["cost"] for row in fits] == ["µs an example", "s", "peak MB beside the data"]
    assert fits[-1]["met"] == "yes"  # memory does not depend on how busy the machine is
    assert is_picture(folder / "scaling.png")


def is_picture(path):
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


WRONG_OPTIONS = {
    "gpu --only nosuch": "gpu: --only: invalid choice: 'nosuch' (choose from ",
    "gpu --minutes soon": "gpu: --minutes: invalid float value: 'soon'; see ",
    "peers --only nosuch": "peers: --only: invalid choice: 'nosuch' (choose from ",
    "nosuch": ": NAME: invalid choice: 'nosuch' (choose from ",
}


@pytest.mark.parametrize(("line", "said"), WRONG_OPTIONS.items(), ids=WRONG_OPTIONS)
def test_an_option_that_is_wrong_is_refused_in_one_line(line, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", *line.split()])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    out, error = capsys.readouterr()
    assert not out
    assert error.count("\n") == 1
    assert said in error


@pytest.mark.parametrize("name", command.BENCHMARKS)
def test_results_that_cannot_be_written_are_refused_in_one_line_before_anything_is_measured(name, tmp_path, monkeypatch, capsys):
    """At the end of an hour's measurements it would be too late."""
    file = tmp_path / "a file"
    file.write_text("kept")
    for path in (file, file / "below"):
        monkeypatch.setattr(sys, "argv", ["benchmarks", name, "--results", str(path)])
        with pytest.raises(SystemExit) as ended:
            command.main()
        assert ended.value.code == 2
        out, error = capsys.readouterr()
        said = f"expected a folder, got {str(file)!r}, which is a file; choose another one"
        assert error == f"python -m benchmarks: --results: {said}\n"
        assert not out
    assert file.read_text() == "kept"
