"""minivae: the variational autoencoder from the chain rule up.

    import minivae as mv
    train, test = mv.datasets.load("digits")
    vae = mv.VAE(latent_dim=10, epochs=20).fit(train.x, x_test=test.x)
    vae.log_likelihood(test.x).mean()

Read in this order: ``op``, ``autodiff``, ``ops/``, ``nn``, ``likelihoods``, ``objectives``, ``models/vae``, ``training``,
``estimators``.
"""

import importlib.util
from typing import TYPE_CHECKING, Any

from minivae.checks import DataFileError, DeviceError, InputError, MinivaeError, NonFiniteError, NotFittedError

if TYPE_CHECKING:
    from minivae import datasets, disentanglement
    from minivae.models import (
        IWAE,
        MODELS,
        VAE,
        Autoencoder,
        ConditionalVAE,
        ContractiveAutoencoder,
        DenoisingAutoencoder,
        Model,
        QuantizedAutoencoder,
        SemiSupervisedVAE,
        SparseAutoencoder,
        VAEClassifier,
        load,
    )

__version__ = "0.1.0"

__all__ = [
    "IWAE",
    "MODELS",
    "VAE",
    "Autoencoder",
    "ConditionalVAE",
    "ContractiveAutoencoder",
    "DataFileError",
    "DenoisingAutoencoder",
    "DeviceError",
    "InputError",
    "MinivaeError",
    "Model",
    "NonFiniteError",
    "NotFittedError",
    "QuantizedAutoencoder",
    "SemiSupervisedVAE",
    "SparseAutoencoder",
    "VAEClassifier",
    "datasets",
    "disentanglement",
    "load",
]


def __getattr__(name: str) -> Any:
    """Load what is asked for when it is asked for (PEP 562): ``import minivae`` then costs little more than NumPy does."""
    if name in __all__ and name not in ("datasets", "disentanglement"):
        return getattr(importlib.import_module("minivae.models"), name)
    if not name.startswith("_") and importlib.util.find_spec(f"minivae.{name}"):
        return importlib.import_module(f"minivae.{name}")
    raise AttributeError(f"module 'minivae' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
