"""Fixtures that several test files share."""

from __future__ import annotations

import importlib
from types import ModuleType

import numpy as np
import pytest

import minivae as mv
from minivae.backend import probe_cuda


def module_or_skip(name: str) -> ModuleType:
    if name == "numpy":
        return np
    available, reason = probe_cuda()
    if not available:
        pytest.skip(reason)
    return importlib.import_module("cupy")


@pytest.fixture(params=["numpy", "cupy"])
def xp(request) -> ModuleType:
    """The array module: NumPy, and CuPy where there is a device."""
    return module_or_skip(request.param)


@pytest.fixture(params=["cpu", "cuda"])
def device(request) -> str:
    """The device of a model: the CPU, and the GPU where there is one."""
    module_or_skip({"cpu": "numpy", "cuda": "cupy"}[request.param])
    return request.param


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
