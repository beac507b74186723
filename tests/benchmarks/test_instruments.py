"""The instruments of the benchmarks: clocks, child processes, bytes and exponents."""

from __future__ import annotations

import itertools
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from support.cpu_benchmark import write_pixels
from threadpoolctl import threadpool_limits

from benchmarks import report, timing
from benchmarks.cpu import ops, scaling, scripts, step


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


def test_a_table_names_the_threads_of_the_process_that_was_measured(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with threadpool_limits(1, "blas"):
        assert report.machine()["threads"] == "1 threads"  # what this process does
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert timing.header(SimpleNamespace(quick=False))["threads"] == "3 threads"  # what is timed in processes of their own


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
