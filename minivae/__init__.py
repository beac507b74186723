"""minivae: the variational autoencoder from the chain rule up.

    import minivae as mv
    train, test = mv.datasets.load("digits")
    vae = mv.VAE(latent_dim=10, epochs=20).fit(train.x, x_test=test.x)
    vae.log_likelihood(test.x).mean()

Read in this order: ``op``, ``autodiff``, ``ops/``, ``nn``, ``likelihoods``, ``objectives``, ``models/vae``, ``training``,
``estimators``.
"""

from typing import Any

from minivae import checkpoint, datasets, disentanglement
from minivae.checks import (
    DataFileError,
    DeviceError,
    InputError,
    MinivaeError,
    NonFiniteError,
    NotFittedError,
    check_choice,
)
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
)

__version__ = "0.1.0"


def load(path: Any, device: str = "auto") -> Model:
    """Return the model that ``Model.save`` wrote to ``path``, on ``device``.

    Raises ``DataFileError`` when the file is missing, damaged or not a model.
    """
    arrays, record = checkpoint.load(path)
    model = MODELS[check_choice("model", record["model"], MODELS)](**(record["params"] | {"device": device}))
    model._restore(arrays, record)
    return model


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
