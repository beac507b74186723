"""What the defaults lead to: every model learns on digits and on MNIST, and no code is dead."""

from __future__ import annotations

import numpy as np
import pytest
from support.helpers import MNIST, needs_mnist

import minivae as mv
from minivae.models import MODELS

CODES = [(kind, {}) for kind in MODELS.values()]
CODES += [(mv.Autoencoder, {"code_activation": code}) for code in ("sigmoid", "tanh")]
CODES += [(mv.SparseAutoencoder, {"penalty": "kl"})]
every_code = pytest.mark.parametrize(("kind", "settings"), CODES, ids=lambda value: getattr(value, "__name__", str(value)))


def learns(kind, settings, train: mv.datasets.Dataset, test: mv.datasets.Dataset, least_gain: float) -> None:
    """Assert that a good part of the code is in use, and that examples are rebuilt better than by the mean image, in nats."""
    model = kind(**settings, device="cpu").fit(train.values, train.y, test.values, test.y)
    mean = np.clip(train.x.mean(axis=0, dtype="float64"), 1e-3, 1 - 1e-3)
    of_the_mean = -(test.x @ np.log(mean) + (1 - test.x) @ np.log1p(-mean)).mean()
    assert model.history_["test_reconstruction"][-1] < of_the_mean - least_gain
    assert model.history_["active_units"][-1] >= model.latent_dim / 4  # the bound of a VAE does not pay for many


@pytest.mark.slow
@pytest.mark.trained
@every_code
def test_digits(kind, settings):
    learns(kind, settings | {"epochs": 25}, *mv.datasets.load("digits"), least_gain=1)  # of 27.0 nats, 13.6 of which are a floor


@pytest.mark.slow
@needs_mnist
@pytest.mark.trained
@every_code
def test_mnist(kind, settings):
    train, test = mv.datasets.load("mnist", MNIST)
    learns(kind, settings | {"epochs": 4}, train.subset(slice(2000)), test.subset(slice(300)), least_gain=10)  # of 206
