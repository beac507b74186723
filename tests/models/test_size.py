"""Before a model takes memory, for its parameters and for the widest layer of a batch, it is checked that there is so much."""

from __future__ import annotations

import numpy as np
import pytest
from support.helpers import complaint

import minivae as mv
from minivae.checks import InputError

SETTINGS = {"batch_size": 10, "epochs": 1, "device": "cpu"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("kind", "n_features", "settings", "named", "samples", "widest"),
    [
        (mv.VAE, 7, {"latent_dim": 2, "hidden_dims": (5, 40), "n_samples": 3}, "latent_dim, hidden_dims", "n_samples", 3 * 40),
        (mv.VAE, 7, {"latent_dim": 50, "hidden_dims": (5,), "n_samples": 2}, "latent_dim, hidden_dims", "n_samples", 2 * 50),
        (mv.IWAE, 60, {"latent_dim": 2, "hidden_dims": (5,)}, "latent_dim, hidden_dims", "n_importance_samples", 5 * 60),
        (mv.VQVAE, 7, {"latent_dim": 2, "hidden_dims": (5,)}, "latent_dim, hidden_dims, n_codes, code_dim", "n_samples", 7),
    ],
)
def test_the_memory_that_is_checked_is_what_training_takes(kind, n_features, settings, named, samples, widest, dtype, monkeypatch):
    """Four copies of the parameters: they, their gradients and Adam's two averages; and all samples of a batch in one layer."""
    asked = {}
    monkeypatch.setattr("minivae.models.size.check_memory", lambda name, size, mend: asked.update({name: size}))
    model = kind(**SETTINGS | settings, dtype=dtype).fit(np.random.default_rng(0).random((20, n_features)))
    assert asked[named] == 4 * model.parameters_.values.nbytes
    assert asked[samples] == widest * 10 * np.dtype(dtype).itemsize


@pytest.mark.parametrize("width", [10**8, 10**15, 10**30])
def test_a_model_for_which_there_is_no_memory_is_refused(width):
    """Also where it has more numbers than an array can have."""
    x = np.random.default_rng(0).random((20, 7))
    message = complaint(InputError, mv.VAE(**SETTINGS, hidden_dims=(width, width)).fit, x)
    assert message.startswith("latent_dim, hidden_dims: expected what fits in the ")
    assert message.endswith("lower them")
    message = complaint(InputError, mv.VAE(**SETTINGS, n_samples=width).fit, x)
    assert message.startswith("n_samples: expected what fits in the ")
