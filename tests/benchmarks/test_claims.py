"""The claims: the rule that decides them, and that each can be measured, judged and drawn, shown in the smallest setting."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from support.tables import rows_of

from benchmarks import __main__ as command
from benchmarks.claims import CLAIMS, examine
from benchmarks.claims.gradients import estimates
from benchmarks.claims.lab import DIGITS, QUICK, SPRITES, Lab
from benchmarks.claims.pictures import panels
from benchmarks.claims.record import FAILS, HOLDS, OPEN, STUDENT, Bound, Claim, Measured, above, below, interval
from minivae.models import VAE
from minivae.pictures.plots import save

TINY = replace(
    QUICK,
    seeds=2,
    settings={
        DIGITS: QUICK.settings[DIGITS] | {"hidden_dims": (16,), "epochs": 2},
        SPRITES: QUICK.settings[SPRITES] | {"hidden_dims": (16,), "epochs": 1, "batch_size": 512},
    },
    n=60,
    linear_steps=5,
)


def claim_of(values, asks):
    """Return a claim whose figure "f" is the next of ``values`` for each seed."""
    figures = iter(values)
    return Claim("c", "s", "t", lambda lab: Measured({"f": next(figures)}), asks, lambda values, shown: panels()[0])


# The rule -------------------------------------------------------------------------------------------------------------------------


def test_interval_is_students():
    values = np.random.default_rng(0).standard_normal(7)
    mean, half = interval(values)
    low, high = stats.t.interval(0.95, 6, loc=values.mean(), scale=stats.sem(values))
    assert (mean - half, mean + half) == pytest.approx((low, high), rel=1e-3)
    np.testing.assert_allclose(STUDENT, stats.t.ppf(0.975, np.arange(1, len(STUDENT) + 1)), rtol=1e-3)


def test_one_seed_decides_nothing():
    assert interval([3.0]) == (3.0, math.inf)
    assert above(0).verdict([3.0]) == below(0).verdict([3.0]) == OPEN


@pytest.mark.parametrize(
    ("bound", "values", "verdict"),
    [
        (above(0.0), [1.0, 1.1, 0.9], HOLDS),
        (above(0.0), [-1.0, -1.1, -0.9], FAILS),
        (above(0.0), [1.0, -0.5, 0.3], OPEN),
        (below(0.0), [1.0, 1.1, 0.9], FAILS),
        (below(0.0), [-1.0, -1.1, -0.9], HOLDS),
        (Bound(0.0, 2.0), [1.0, 1.1, 0.9], HOLDS),
        (Bound(0.0, 2.0), [3.0, 3.1, 2.9], FAILS),
        (Bound(0.0, 2.0), [1.9, 2.1, 2.0], OPEN),
        (above(0.0), [0.0, 0.0, 0.0], FAILS),
    ],
)
def test_verdict_of_a_bound(bound, values, verdict):
    assert bound.verdict(values) == verdict


def test_one_bound_that_does_not_hold_is_enough():
    claim = claim_of([], {"f": above(0.0), "g": above(0.0)})
    good, bad, unclear = [1.0, 1.1, 0.9], [-1.0, -1.1, -0.9], [1.0, -0.5, 0.3]
    verdicts = [claim.verdict({"f": f, "g": g}) for f, g in ((good, good), (good, unclear), (good, bad), (bad, unclear))]
    assert verdicts == [HOLDS, OPEN, FAILS, FAILS]


# The runner -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sign", "verdict"), [(1, HOLDS), (-1, FAILS)])
def test_the_runner_reports_either_way(tmp_path, sign, verdict):
    claim = claim_of([sign * 2.0, sign * 2.1], {"f": above(0.0)})
    examine([claim], TINY, {"machine": "a test"}, tmp_path)
    assert rows_of(tmp_path / "claims.csv")[0]["verdict"] == verdict
    (row,) = rows_of(tmp_path / "figures.csv")
    assert (row["asked"], row["verdict"], float(row["mean"])) == ("above 0", verdict, sign * 2.05)
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_takes_the_claims_it_is_given(monkeypatch, tmp_path):
    monkeypatch.setattr("benchmarks.claims.QUICK", TINY)
    arguments = ["--claim", "reparameterisation", "linear", "--results", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["benchmarks", "claims", *arguments])
    command.main()
    assert [row["claim"] for row in rows_of(tmp_path / "claims.csv")] == ["reparameterisation", "linear"]
    assert {path.stem for path in tmp_path.glob("*.png")} == {"reparameterisation", "linear"}


def test_the_command_takes_a_group_of_claims_and_all_without_a_choice(monkeypatch):
    chosen = []
    monkeypatch.setattr("benchmarks.claims.examine", lambda claims, *_: chosen.append([claim.name for claim in claims]))
    for arguments in (["gradients"], [], ["gradients", "--claim", "linear"]):
        monkeypatch.setattr(sys, "argv", ["benchmarks", "claims", *arguments])
        command.main()
    assert chosen == [["estimators", "reparameterisation"], list(CLAIMS), ["linear", "estimators", "reparameterisation"]]


@pytest.fixture(scope="module")
def lab():
    return Lab(TINY, 0)


@pytest.mark.slow
@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_every_claim_can_be_measured_judged_and_drawn(claim, lab, tmp_path):
    measured = claim.measure(lab)
    assert measured.figures.keys() > claim.asks.keys()
    assert all(math.isfinite(figure) for figure in measured.figures.values())
    values = {name: [float(figure), 1.01 * float(figure)] for name, figure in measured.figures.items()}
    assert claim.verdict(values) in (HOLDS, FAILS, OPEN)
    save(claim.picture(values, measured.shown), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size < 400_000
    if claim.table:
        columns, rows = claim.table(values)
        assert {len(row) for row in rows} == {len(columns)}


@pytest.mark.slow
def test_the_same_seed_measures_the_same():
    one, two = (CLAIMS["reparameterisation"].measure(Lab(TINY, 3)).figures for _ in range(2))
    assert one == two


@pytest.mark.slow
def test_both_gradients_estimate_the_same(lab):
    """The means over many samples differ by no more than their standard errors allow, for each of the three estimators."""
    model, x = lab.fit(VAE), lab.test.x[:2]
    noise = np.random.default_rng(0).standard_normal((20_000, 2, model.latent_dim), dtype="float32")
    parts = [np.concatenate(pair, axis=2).astype("float64") for pair in estimates(model, x, noise).values()]
    means, errors = zip(*((part.mean(axis=0), part.std(axis=0) / math.sqrt(len(noise))) for part in parts))
    for mean, error in zip(means[1:], errors[1:]):
        assert (np.abs(mean - means[0]) < 5 * np.hypot(error, errors[0])).all()
