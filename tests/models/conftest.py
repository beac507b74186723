"""Fixtures that several tests of models share."""

from __future__ import annotations

import pytest
from support.small_vae import SMALL, X

import minivae as mv
from minivae.models.likelihoods import LIKELIHOODS


@pytest.fixture(scope="session", params=LIKELIHOODS)
def small(request) -> mv.VAE:
    """A small trained VAE of each likelihood.  Shared: look, don't touch."""
    options = {"likelihood": request.param, "activation": "tanh", "variance": 0.02, "epochs": 100, "learning_rate": 1e-2}
    return mv.VAE(**SMALL, **options, batch_size=20).fit(X)
