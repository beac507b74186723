"""What the command ``explain`` shows of an op: its numbers fit together, and its places are real."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.op_cases import CASES

from minivae.checks import InputError
from minivae.ops import ALL_OPS
from minivae.study import explain


@pytest.mark.parametrize("name", ALL_OPS)
def test_every_op_is_explained_by_numbers_that_fit_together(name: str) -> None:
    it = explain.explain(name)
    assert "Why:" in it.derivation
    np.testing.assert_allclose(it.result, CASES[name].reference(*it.inputs.values(), **it.options), rtol=1e-14)
    for argument, array in it.inputs.items():
        assert array.size <= 12
        assert it.gradients[argument].shape == array.shape
        np.testing.assert_allclose(it.slopes[argument], it.gradients[argument], rtol=1e-8, atol=1e-9)
    root = Path(explain.__file__).parents[2]
    for place, text in ((it.forward, "def "), (it.backward, "def "), (it.test, f'"{name}"')):
        file, line = place.split(":")
        assert text in (root / file).read_text(encoding="utf-8").splitlines()[int(line) - 1]


def test_an_unknown_op_cannot_be_explained() -> None:
    with pytest.raises(InputError, match="op: expected one of"):
        explain.explain("tan")
