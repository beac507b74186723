"""The sums of the terms over an epoch, in float64, with and without the kernel that adds four of them in a launch."""

from __future__ import annotations

import numpy as np
import pytest

from minivae.backend import to_numpy
from minivae.kernels import usable
from minivae.training.totals import Totals


@pytest.mark.parametrize(("dtype", "stride"), [("float32", 1), ("float64", 1), ("float32", 2)])
@pytest.mark.parametrize("count", [1, 3, 4, 6, 9])
def test_totals_are_means_times_examples_for_any_number_of_terms(count, dtype, stride, strict_device):
    """The last batch is smaller than the others, and a term may be one number for all examples, or a column of a matrix."""
    rng, totals = np.random.default_rng(count), Totals(strict_device)
    names, expected = [f"term {i}" for i in range(count)], np.zeros(count)
    totals.begin(names)
    in_few_launches = usable(strict_device) and (dtype, stride) == ("float32", 1)
    for n in (33, 33, 7):
        terms = [rng.standard_normal((1 if i % 3 == 2 else n, stride)).astype(dtype) for i in range(count)]
        columns = [strict_device.asarray(term)[:, 0] for term in terms]
        with strict_device.counting() as counts:
            totals.add({name: x if len(x) > 1 else x.reshape(()) for name, x in zip(names, columns, strict=True)}, n)
        assert (counts.launches == -(-count // 4)) == in_few_launches
        expected += [term[:, 0].mean(dtype=np.float64) * n for term in terms]
    assert list(totals) == names
    assert {total.dtype for total in totals.values()} == {np.dtype("float64")}
    np.testing.assert_allclose([to_numpy(total) for total in totals.values()], expected, rtol=1e-12, atol=1e-13)


def test_totals_go_on_from_those_that_were_kept(xp):
    totals = Totals(xp, {"kl": 1.5, "loss": -2.0})
    totals.add({"kl": xp.asarray([1.0, 3.0]), "loss": xp.asarray([4.0, 4.0])}, 2)
    assert {name: float(total) for name, total in totals.items()} == {"kl": 5.5, "loss": 6.0}
    assert Totals(xp) == {}
