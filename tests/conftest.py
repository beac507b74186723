"""Fixtures that several test files share."""

from __future__ import annotations

import os
import signal

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: test processes side by side would fight over the cores

import numpy as np
import pytest
from support.browser import browser  # noqa: F401 - a fixture
from support.device import auto_device, device, fused, strict_device, xp  # noqa: F401 - fixtures
from support.hints import pytest_runtest_makereport  # noqa: F401 - a hook

import minivae as mv


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed-shift", type=int, default=0, metavar="N", help="train every model from a seed that is greater by N")


def pytest_configure(config: pytest.Config) -> None:
    """With ``--seed-shift`` all models are trained from other seeds, to see which bounds on trained figures are met by luck.

    Python's own answer to SIGINT is put in, because a shell may start what runs in its background with SIGINT ignored, and tests of
    interruptions would then wait for ever.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from hypothesis import HealthCheck, settings  # pytest wants to import it first

    # A machine that is busy is no finding: how long an example takes is not tested.
    settings.register_profile("minivae", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("minivae")
    shift, fit = config.getoption("--seed-shift"), mv.Model.fit

    def fit_from_another_seed(self: mv.Model, *args: object, **kwargs: object) -> mv.Model:
        self.seed += shift
        try:
            return fit(self, *args, **kwargs)
        finally:
            self.seed -= shift

    if shift:
        mv.Model.fit = fit_from_another_seed


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """The handwritten digits, (1437, 64) to train on and (360, 64) to test on, in [0, 1]."""
    train, test = mv.datasets.load("digits")
    return train.x, test.x


@pytest.fixture(scope="session")
def vae(digits) -> mv.VAE:
    """A small VAE trained on the digits.  Shared: look, don't touch."""
    settings = {"latent_dim": 6, "hidden_dims": (61,), "epochs": 20, "learning_rate": 3e-3, "seed": 1, "device": "cpu"}
    return mv.VAE(**settings).fit(digits[0], x_test=digits[1])
