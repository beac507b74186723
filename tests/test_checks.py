"""What is refused, and in which words: argument, expectation, what came, and how to mend it."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.helpers import complaint

from minivae import checks
from minivae.checks import InputError, check_choice, check_int, check_matrix, check_real, check_values, reject

BASES = {
    "InputError": ValueError,
    "DataFileError": OSError,
    "DeviceError": RuntimeError,
    "NotFittedError": AttributeError,
    "NonFiniteError": FloatingPointError,
    "GradcheckError": AssertionError,
}


@pytest.mark.parametrize("name", BASES)
def test_exceptions_are_also_of_the_kind_that_python_programs_expect(name):
    error = getattr(checks, name)
    assert issubclass(error, BASES[name])
    message = complaint(checks.MinivaeError, reject, "a", "b", "c", "d", error)
    assert message == "a: expected b, got c; d"
    assert complaint(error, reject, "a", "b", "c", "", error) == "a: expected b, got c"


def test_choice():
    assert check_choice("path", "linear", ("linear", "spherical")) == "linear"
    for wrong in ("Linear", "", None, 3, ["linear"]):
        message = complaint(InputError, check_choice, "path", wrong, ("linear", "spherical"))
        assert message == f"path: expected one of linear, spherical, got {wrong!r}"


@given(st.integers(-9, 9), st.integers(-9, 9), st.none() | st.integers(-9, 9), st.sampled_from([int, np.int32, np.int64]))
def test_int_is_accepted_exactly_inside_its_interval(value, low, high, kind):
    if value >= low and (high is None or value <= high):
        assert check_int("n", kind(value), low, high) == value
        assert type(check_int("n", kind(value), low, high)) is int
    else:
        bound = f"of at least {low}" if high is None else f"from {low} to {high}"
        assert complaint(InputError, check_int, "n", kind(value), low, high).startswith(f"n: expected a whole number {bound}, got ")


@pytest.mark.parametrize("value", [1.0, np.float64(1), True, np.True_, "1", None, 1j, [1], np.array([1])])
def test_int_wants_a_whole_number(value):
    assert repr(value) in complaint(InputError, check_int, "n", value, 0)


@given(st.floats(-9, 9), st.floats(-9, 9), st.floats(-9, 9) | st.just(math.inf), st.booleans())
def test_real_is_accepted_exactly_inside_its_interval(value, low, high, open_low):
    if (low < value if open_low else low <= value) and value <= high:
        assert check_real("x", value, low, high, open_low) == value
        assert type(check_real("x", np.float64(value), low, high, open_low)) is float
    else:
        message = complaint(InputError, check_real, "x", value, low, high, open_low)
        assert message.startswith("x: expected a finite number ")
        assert f"{low:g}" in message
        assert message.endswith(f"got {value!r}")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, np.True_, "1", None, 1j, [1.0], np.array([1.0])])
def test_real_wants_a_finite_number(value):
    assert repr(value) in complaint(InputError, check_real, "x", value)
    assert type(check_real("x", 3)) is float


MATRICES = {
    "list": ([[1.0]], "list", "NumPy or CuPy"),
    "foreign": (SimpleNamespace(shape=(2, 2), dtype="torch.float32"), "SimpleNamespace", "NumPy or CuPy"),
    "text": (np.array([["a"]]), "<U1", "float32"),
    "complex": (np.zeros((2, 2), complex), "complex128", "float32"),
    "objects": (np.array([[None]]), "object", "float32"),
    "vector": (np.zeros(3), "(3,)", "x.reshape(1, -1)"),
    "number": (np.array(3.0), "shape ()", "x.reshape(1, -1)"),
    "images": (np.zeros((2, 3, 4)), "(2, 3, 4)", "x.reshape(len(x), -1)"),
    "no rows": (np.zeros((0, 3)), "(0, 3)", "at least one"),
    "no columns": (np.zeros((3, 0)), "(3, 0)", "at least one"),
    "width": (np.zeros((2, 4)), "got 4", "5 features"),
}


@pytest.mark.parametrize(("array", "got", "words"), MATRICES.values(), ids=MATRICES)
def test_matrix(array, got, words):
    message = complaint(InputError, check_matrix, "x", array, 5)
    assert message.startswith("x: ")
    assert got in message
    assert words in message


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float32", "float64"])
def test_matrix_of_any_real_dtype(dtype):
    check_matrix("x", np.ones((2, 3), dtype))
    check_matrix("x", np.ones((2, 3), dtype), 3)
    check_values("x", np.ones((2, 3), dtype), unit_interval=True)


@given(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=5), elements=st.floats(0, 1, width=32)),
    st.sampled_from([math.nan, math.inf, -math.inf]),
    st.data(),
)
def test_one_value_that_is_not_finite_is_found(rows, wrong, data):
    check_values("x", rows)
    row, column = (data.draw(st.integers(0, size - 1)) for size in rows.shape)
    rows[row, column] = wrong
    message = complaint(InputError, check_values, "x", rows, first_row=1024)
    assert f"{wrong} at row {1024 + row}, column {column}" in message


@pytest.mark.parametrize("wrong", [-1e-6, 1.0001, 255])
def test_values_outside_the_unit_interval(wrong):
    rows = np.array([[0.0, 1.0], [0.5, wrong]])
    check_values("x", rows)
    message = complaint(InputError, check_values, "x", rows, unit_interval=True)
    assert f"{wrong:g}" in message
    assert "divide" in message
    assert "gaussian" in message


def test_eight_bit_pixels_are_in_the_unit_interval():
    check_values("x", np.array([[0, 255]], np.uint8), unit_interval=True)
    assert "255" in complaint(InputError, check_values, "x", np.array([[0, 255]], np.int64), unit_interval=True)


def test_hints_to_install_name_the_checkout_that_runs(monkeypatch):
    root = Path(checks.__file__).parents[1]
    assert checks.installing("mpi") == f"pip install -e {shlex.quote(f'{root}[mpi]')}"
    monkeypatch.setattr(checks, "__file__", "/usr/lib/python3/site-packages/minivae/checks.py")
    assert checks.installing("mpi") == "pip install -e '.[mpi]' in the checkout of minivae"
    for path in [*root.glob("minivae/**/*.py"), *root.glob("benchmarks/**/*.py")]:
        assert "pip install 'minivae[" not in path.read_text(encoding="utf-8"), path
