"""Settings as they come from a grid, and what they must not change."""

from __future__ import annotations

import numpy as np
import pytest
from support.family import every_model
from support.helpers import complaint

import minivae as mv
from minivae.checks import InputError

FROM_A_GRID = {
    "VAE": {"beta": 0.5, "learning_rate": 3e-3, "latent_dim": 2},
    "VAE with free bits": {"free_bits": 0.3},
    "VAE with capacity": {"capacity": 5.0, "beta": 2.0, "warm_up_epochs": 1},
    "VAE that is clipped": {"clip_norm": 0.7},
    "IWAE": {"n_importance_samples": 3, "seed": 4},
    "Autoencoder": {"l1": 1e-3, "l2": 1e-3, "posterior_std": 0.2},
    "SparseAutoencoder": {"sparsity": 0.3, "penalty": "kl", "target": 0.1},
    "DenoisingAutoencoder": {"amount": 0.3, "corruption": "gaussian"},
    "DenoisingAutoencoder that masks": {"amount": 0.3},
    "ContractiveAutoencoder": {"contraction": 0.3},
    "SemiSupervisedVAE": {"classification_weight": 0.3, "beta": 0.7},
    "VAEClassifier": {"weight_decay": 0.01, "hidden_dims": (8,)},
}


def of_numpy(value):
    if isinstance(value, tuple):
        return tuple(map(of_numpy, value))
    return value if isinstance(value, str) else (np.float64 if isinstance(value, float) else np.int64)(value)


@pytest.mark.parametrize("name", FROM_A_GRID)
def test_numpy_numbers_are_the_same_settings(name: str) -> None:
    """Bit for bit: a float64 among float32 weights would be computed at its own width."""
    x = np.random.default_rng(0).uniform(0, 1, (48, 12)).astype("float32")
    y = np.arange(48) % 3
    models = []
    for converted in (lambda value: value, of_numpy):
        given = {key: converted(value) for key, value in ({"hidden_dims": (9,), "latent_dim": 3} | FROM_A_GRID[name]).items()}
        kind = getattr(mv, name.split()[0])
        models.append(kind(**given, epochs=2, batch_size=16, device="cpu").fit(x, y, x, y))
    plain, numpy = models
    for parameter in numpy.parameters_.parameters.values():
        assert parameter.grad.dtype == parameter.data.dtype == np.float32
    np.testing.assert_array_equal(numpy.parameters_.values, plain.parameters_.values)
    assert {**numpy.history_, "seconds": 0} == {**plain.history_, "seconds": 0}
    assert repr(numpy.get_params()) == repr(plain.get_params())  # as numbers of Python
    assert type(numpy.seed_) is int
    np.testing.assert_array_equal(numpy.reconstruct(x, np.float64(0.7), y=y), plain.reconstruct(x, 0.7, y=y))


@every_model
def test_every_setting_of_every_model_is_checked(kind) -> None:
    """An object of no known kind, and in place of a number also −1 and NaN, are refused by the setting's name, before training."""
    x, y = np.random.default_rng(0).random((6, 4)), np.arange(6) % 2
    for name, default in kind().get_params().items():
        number = isinstance(default, (int, float)) and not isinstance(default, bool)
        for wrong in [object(), -1, np.nan] if number else [object()]:
            model = kind(**{name: wrong})
            for refusal in (complaint(InputError, model.fit, x, y), complaint(InputError, model.check_settings)):
                assert refusal.startswith(f"{name}: "), (name, wrong)
