"""The figures that the pages quote of the GPU are those of the tables beside them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.tables import rows_of

from benchmarks.gpu.contenders import FEWER, ONE_LAUNCH
from benchmarks.gpu.steps import ON_CPU
from benchmarks.report import RESULTS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "benchmarks" / "gpu" / "README.md").read_text(encoding="utf-8")
PLAIN, KERNELS, REPLAYED, TF32 = (f"minivae, {form}" for form in ("plain CuPy", "kernels", "replayed", "TF32"))
JAX, TORCH = "JAX scan", "torch, whole step captured"


STEPS = {(row["work"], row["contender"]): row for row in rows_of(RESULTS / "gpu_steps.csv")}
TRAINING = {row["training"]: row for row in rows_of(RESULTS / "gpu_training.csv")}


def wall(name: str, work: str = "A") -> float:
    return float(STEPS[work, name]["µs a step, wall"])


def figures(text: str) -> list[str]:
    return re.findall(r"\d[\d,]*(?:\.\d+)?(?: · 10[⁻⁰¹²³⁴-⁹]+)?", text)


def assert_quoted(text: str, *measured: float) -> None:
    """Hold the figures in a text to measured ones, which the tables give in four digits: each is right to its last digit."""
    quoted = figures(text)
    assert len(quoted) == len(measured), text
    for figure, value in zip(quoted, measured, strict=True):
        digits, _, power = figure.replace(",", "").partition(" · 10")
        scale = 10.0 ** int(power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")) or 0)
        last = scale * (10.0 if re.fullmatch(r"\d+0", digits) else 10.0 ** -len(digits.partition(".")[2]))  # its last digit's unit
        assert abs(float(digits) * scale - value) <= 0.5 * last + 5e-4 * abs(value), (figure, value, text)


def cells(label: str) -> list[str]:
    """Return the cells of the row of the page that begins with a label."""
    (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| {label}"))
    return [cell.strip() for cell in row.split("|")[2:-1]]


def between(text: str, begin: str, end: str) -> str:
    found = " ".join(text.split()).partition(begin)[2].partition(end)
    assert found[1], (begin, end)
    return found[0]


LADDER = {
    "NumPy, on two threads": ON_CPU,
    "plain CuPy": PLAIN,
    "with the kernels": KERNELS,
    "replayed as a graph": REPLAYED,
    "replayed, fewer": FEWER,
    "many steps": ONE_LAUNCH,
}


@pytest.mark.parametrize(("label", "name"), LADDER.items(), ids=LADDER)
def test_the_ladder(label, name):
    launches, microseconds, ratio, peer = cells(label)
    assert_quoted(microseconds, wall(name))
    assert_quoted(peer, wall(name) / wall(JAX))
    if name != ON_CPU:
        before = list(LADDER.values())[list(LADDER).index(label) - 1]
        assert_quoted(ratio, wall(name) / wall(before))
    if counted := STEPS["A", name]["launches a step"]:
        number, *steps = map(float, figures(launches))
        assert number / (steps or [1])[0] == float(counted)


@pytest.mark.parametrize(("label", "name"), [("JAX scan, 100", JAX), ("PyTorch, whole", TORCH)])
def test_the_peers(label, name):
    _, microseconds, _, relative = cells(label)
    times = wall(name), wall(f"{name}, TF32")
    assert_quoted(microseconds, *times)
    assert_quoted(relative, *(time / wall(JAX) for time in times))


def test_the_large_step():
    for label, ours, ending in (("L, TF32", TF32, ", TF32"), ("L, float32", REPLAYED, "")):
        for cell, name in zip(cells(label), (ours, JAX + ending, TORCH + ending), strict=True):
            assert_quoted(cell, wall(name, "L"))


def test_mnist():
    one, fewer = TRAINING[ONE_LAUNCH], TRAINING[FEWER]
    first, second, loss = "seconds, first run", "seconds, second run", "test loss"
    said = between(PAGE, "steps in a launch, training takes", "A step of B")
    assert_quoted(said, *(float(figure) for figure in (one[second], one[first], one[loss], fewer[second], fewer[loss])))
    assert_quoted(cells("ten epochs")[1], float(one[second]), float(one[loss]))


def test_drift():
    rows = {(row["training"], row["steps"]): row for row in rows_of(RESULTS / "gpu_drift.csv")}
    trainings = ("CPU, float32", REPLAYED, FEWER, ONE_LAUNCH, TF32)
    for steps, begin, end in (("50", "largest difference of a parameter is", "; after"), ("1000", "has grown,", ", and the loss")):
        differences = [float(rows[name, steps]["largest difference of a parameter"]) for name in trainings]
        said = between(PAGE, begin, end).replace("TF32", "").replace("float32", "")
        assert_quoted(said, *differences)
    assert all(float(rows[name, "1000"]["relative difference of the loss"]) < 1e-4 for name in trainings)


def test_the_goals():
    assert_quoted(cells("A replayed in at most")[1], wall(FEWER))
    assert_quoted(cells("A in one launch in at most")[1].partition(";")[0], wall(ONE_LAUNCH))
    assert_quoted(cells("A below JAX scan")[1], wall(ONE_LAUNCH) / wall(JAX), wall(FEWER) / wall(JAX))
    assert_quoted(cells("L with TF32")[1], wall(TF32, "L") / 1e3)
    assert_quoted(cells("at most 35 launches")[1], float(STEPS["A", FEWER]["launches a step"]))


def test_the_readme():
    text = between((ROOT / "README.md").read_text(encoding="utf-8"), "784-400-20 VAE takes", "Replay needs")
    steps = (wall(name) / 1e3 for name in (PLAIN, KERNELS, REPLAYED, FEWER, ONE_LAUNCH, JAX))
    one = TRAINING[ONE_LAUNCH]
    assert_quoted(text, *steps, float(one["seconds, second run"]), float(one["test loss"]))
