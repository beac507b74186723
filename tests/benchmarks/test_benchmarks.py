"""Benchmarks: each writes its table and its plot, and none lets a wrong result through to the clock."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import json
import math
import re
import struct
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from support.tables import comments_of, rows_of

from benchmarks import __main__ as command
from benchmarks import timing
from benchmarks.cpu import memory, ops, peers, scaling, scripts, step
from benchmarks.cpu.references import REFERENCES
from benchmarks.cpu.workloads import Workload
from minivae import VAE
from minivae.checks import NonFiniteError, installing
from minivae.ops import ALL_OPS

TINY = Workload("tiny", 31, (17,), 3, 13, "tanh")


@pytest.fixture
def benchmark(monkeypatch, tmp_path):
    """``python -m benchmarks`` in quick mode; what it writes goes to a folder of the test's own."""

    def run(name, *args):
        monkeypatch.setattr(sys, "argv", ["benchmarks", name, "--quick", "--results", str(tmp_path / "results"), *args])
        command.main()
        return tmp_path / "results"

    return run


def write_pixels(folder, pixels):
    folder.mkdir(exist_ok=True)
    header = struct.pack(">4I", 0x00000803, len(pixels), 28, 28)
    with gzip.open(folder / scripts.FILE, "wb", compresslevel=1) as file:
        file.write(header + pixels.tobytes())
    return folder / scripts.FILE


@pytest.fixture
def images(tmp_path):
    """A folder with images that are learned in no time: a pattern or its negative."""
    rng = np.random.default_rng(0)
    pattern = rng.random(784) < 0.5
    pixels = (255 * (pattern == (rng.random((2000, 1)) < 0.5))).astype(np.uint8)
    write_pixels(tmp_path, pixels)
    return tmp_path


# Each sub-command -----------------------------------------------------------------------------------------------------------------


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


# Nothing wrong reaches the clock --------------------------------------------------------------------------------------------------


def call(name, **changes):
    example = ops.FIRST_EXAMPLES[name]
    return ops.Call(dataclasses.replace(example, op=dataclasses.replace(example.op, **changes)), ops.QUICK_SIZES)


def test_every_op_has_a_reference():
    assert set(REFERENCES) == set(ops.FIRST_EXAMPLES) == set(ALL_OPS)
    assert set(ops.DATA) <= set(ALL_OPS)


@pytest.mark.parametrize("name", ALL_OPS)
def test_ops_agree_with_their_references(name):
    call(name).verify()


@pytest.mark.parametrize("name", ALL_OPS)
def test_an_error_of_a_thousandth_is_found_in_every_result_and_gradient(name):
    def forward(*args, **options):
        out, saved = ALL_OPS[name].forward(*args, **options)
        return 1.001 * out, saved

    with pytest.raises(SystemExit, match=f"{name}: the result"):
        call(name, forward=forward).verify()
    right = call(name)
    for i, argument in enumerate(right.names):
        if not right.needs[i]:
            continue

        def backward(*args, i=i):
            gradients = list(ALL_OPS[name].backward(*args))
            gradients[i] = 1.001 * gradients[i]
            return tuple(gradients)

        with pytest.raises(SystemExit, match=f"{name}: the gradient of {argument} gives"):
            call(name, backward=backward).verify()


@pytest.mark.parametrize("wrong", [math.nan, 0.0])
def test_a_gradient_of_nan_or_of_nothing_is_found(wrong):
    with pytest.raises(SystemExit, match="the gradient of x"):
        call("tanh", backward=lambda xp, saved, g, needs: (np.full_like(g, wrong),)).verify()


def test_a_result_of_another_shape_is_found():
    with pytest.raises(SystemExit, match="off by inf"):
        ops.require_equal("it", np.ones((3, 1)), np.ones(3))


def test_a_wrong_adam_is_found(monkeypatch):
    class Slow(ops.Adam):
        def __init__(self, *args):
            super().__init__(*args)
            self.learning_rate *= 0.999

    assert len(ops._adams(101)) == 2
    monkeypatch.setattr(ops, "Adam", Slow)
    with pytest.raises(SystemExit, match="Adam is off"):
        ops._adams(101)


@pytest.mark.parametrize(
    ("wrong", "error", "words"), [(1.1, SystemExit, "tiny: losses"), (math.nan, NonFiniteError, "expected a finite loss, got nan")]
)
def test_a_wrong_training_step_is_found(wrong, error, words):
    step.Training(TINY, 50).verify()
    training = step.Training(TINY, 50)
    training.trainer.optimizer.learning_rate *= wrong
    with pytest.raises(error, match=words):
        training.verify()


def test_taking_a_step_apart_does_not_change_it():
    training, watch = step.Training(TINY, 50), step.Stopwatch()
    with step.taken_apart(training, watch):
        training.verify()
        spent = watch.lap(training.step)
    assert all(spent[part] > 0 for part in step.PARTS)


@pytest.mark.slow
def test_training_that_has_not_learned_is_found(benchmark, images, monkeypatch):
    monkeypatch.setattr(memory.importlib.util, "find_spec", lambda name: True if name == "minivae" else None)
    monkeypatch.setattr(memory, "loss_bounds", lambda path: (0.0, 1.0))
    with pytest.raises(SystemExit, match="minivae: has not learned"):
        benchmark("memory", "--epochs", "1", "--data-dir", str(images))


def test_loss_bounds_are_the_entropies_of_the_pixels_and_of_their_mean(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (256, 784), dtype=np.uint8)
    pixels[:, :100], pixels[:, 100:200] = 0, 255
    grey = pixels / 255
    expected = [stats.entropy([p, 1 - p]).sum(axis=0) for p in (grey, grey.mean(axis=0))]
    low, high = scripts.loss_bounds(write_pixels(tmp_path, pixels))
    assert low == pytest.approx(expected[0].sum() / len(pixels), rel=1e-12)
    assert high == pytest.approx(expected[1].sum(), rel=1e-12)


def test_a_wrong_log_likelihood_is_found(monkeypatch):
    right = VAE.importance_estimate
    assert scaling.likelihood(50, 200) > 0

    def shifted(*args, **options):
        estimate = right(*args, **options)
        return estimate._replace(log_likelihood=estimate.log_likelihood - 0.5)

    monkeypatch.setattr(VAE, "importance_estimate", shifted)
    with pytest.raises(SystemExit, match=r"log p\(x\) is off"):
        scaling.likelihood(50, 200)


# The instruments ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless a test moves it."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("time.perf_counter", lambda: clock.now)
    return clock


def test_functions_take_turns_and_the_median_counts(clock):
    order = []
    slow_calls = itertools.chain([3.0] * 2, itertools.cycle([2.0, 2.0, 9.0]))  # two calls before the turns begin

    def work(name, seconds):
        order.append(name)
        clock.now += next(seconds)

    functions = {"slow": lambda: work("slow", slow_calls), "fast": lambda: work("fast", itertools.repeat(1.0))}
    times = timing.medians(functions, rounds=2, seconds=12.5)
    assert times == {"slow": 2.0, "fast": 1.0}
    assert [name for name, _ in itertools.groupby(order[4:])] == ["slow", "fast", "slow"]


def test_short_functions_are_called_many_times_a_lap(clock):
    calls = itertools.count()

    def work():
        next(calls)
        clock.now += 1e-6

    assert timing.medians({"it": work}, rounds=1, seconds=40e-6)["it"] == pytest.approx(1e-6)
    assert next(calls) >= 49  # a lap of 50 µs and the two calls before it


def test_stopwatch_gives_every_moment_to_the_innermost_part(clock):
    watch = step.Stopwatch()

    def wait(seconds):
        clock.now += seconds

    noise = watch.around("noise", lambda: wait(3))

    def forward():
        wait(1)
        noise()
        wait(0.5)

    def whole():
        wait(10)
        watch.around("forward", forward)()
        wait(20)

    assert watch.lap(whole) == dict.fromkeys(step.PARTS, 0) | {"forward": 1.5, "noise": 3, "bookkeeping": 30}
    assert sum(watch.lap(lambda: wait(1)).values()) == 1


def test_bytes_that_must_move():
    x, y = np.ones((5, 7), np.float32), np.ones(7)
    assert ops.bytes_moved([x, y, x], [x + 1]) == 2 * 140 + 56
    assert ops.bytes_moved([x, "shape"], [x.T, None, x[1:]]) == 0
    assert ops.bytes_moved([x], [x, x + 1]) == 2 * 140
    assert ops.bytes_moved([np.broadcast_to(y, (9, 7))], [np.ones(3)]) == 56 + 24
    assert ops.bytes_moved([np.float32(2)], [np.broadcast_to(np.float32(1), (9, 7))]) == 0
    assert ops.bytes_moved([x], [np.float32(35)]) == 140 + 4


def test_exponent_is_the_slope_of_the_logarithms_with_its_standard_error():
    rng = np.random.default_rng(3)
    sizes = np.array([3, 8, 20, 70, 150])
    costs = 0.2 * sizes**0.7 * np.exp(0.1 * rng.standard_normal(5))
    expected = stats.linregress(np.log(sizes), np.log(costs))
    assert scaling.exponent(sizes, costs) == pytest.approx((expected.slope, expected.stderr), rel=1e-9)
    assert scaling.exponent(sizes, 5 * sizes**1.5) == pytest.approx((1.5, 0), abs=1e-9)


@pytest.mark.parametrize(
    ("power", "error", "expected"),
    [(0.9, 0.01, "yes"), (1.04, 0.004, "yes"), (1.06, 0.1, "unclear"), (0.9, 0.1, "unclear"), (1.3, 0.1, "no")],
)
def test_goal_is_met_missed_or_beyond_what_the_measurement_can_tell(power, error, expected):
    assert scaling.verdict(power, error, 1) == expected


@pytest.mark.slow
def test_child_returns_its_value_whatever_is_printed_and_the_parents_memory_is_not_on_its_account(tmp_path):
    ballast = np.ones(40_000_000)
    assert timing.in_child(math.hypot, 3, 4).value == 5
    printing = timing.in_child(print, "not the answer")
    assert printing.value is None
    assert printing.seconds > 0
    assert printing.peak < 100 < ballast.nbytes / 1e6
    few, many = (write_pixels(tmp_path / name, np.zeros((n, 784), np.uint8)) for name, n in (("few", 6400), ("many", 102_400)))
    small, large = (timing.in_child(scripts.loss_bounds, str(path)).peak for path in (few, many))
    assert large - small == pytest.approx(75, rel=0.2)  # 96,000 images of 784 bytes, and what it takes to count a share of them


def test_failure_of_a_child_is_a_failure():
    with pytest.raises(SystemExit, match=r"json\.loads.* failed with exit code 1"):
        timing.in_child(json.loads, "{")


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
