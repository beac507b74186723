"""minivae: the variational autoencoder from the chain rule up.

    import minivae as mv
    train, test = mv.datasets.load("digits")
    vae = mv.VAE(latent_dim=10, epochs=20).fit(train.x, x_test=test.x)
    vae.log_likelihood(test.x).mean()

Read the engine first, in this order: ``op``, ``autodiff``, ``ops/``, ``nn``, ``optim``.  Then ``models/objectives``,
``models/vae``, ``training/trainer``, ``evaluation/estimators`` and ``proof/gradcheck``.

The names in ``__all__`` are the public interface and stay; everything else may move.
"""

import importlib
from typing import TYPE_CHECKING, Any

from minivae.checks import (
    BlindCheckError,
    DataFileError,
    DeviceError,
    GradcheckError,
    InputError,
    MinivaeError,
    NonFiniteError,
    NotFittedError,
    WrongGradientError,
)

if TYPE_CHECKING:
    from minivae import datasets, ops
    from minivae.autodiff import Tensor, backward, no_grad
    from minivae.evaluation import disentanglement
    from minivae.models import (
        DIPVAE,
        IWAE,
        MODELS,
        VAE,
        VQVAE,
        Autoencoder,
        BetaTCVAE,
        CategoricalVAE,
        ConditionalVAE,
        ContractiveAutoencoder,
        DenoisingAutoencoder,
        FlowVAE,
        InfoVAE,
        LearnedPriorVAE,
        Model,
        QuantizedAutoencoder,
        SemiSupervisedVAE,
        SparseAutoencoder,
        TwoLayerIWAE,
        TwoLayerVAE,
        VAEClassifier,
        load,
    )
    from minivae.models.likelihoods import LIKELIHOODS, Likelihood
    from minivae.nn import ACTIVATIONS
    from minivae.op import Op
    from minivae.proof.gradcheck import gradcheck
    from minivae.training.keeper import Keeper

__version__ = "0.1.0"

__all__ = [
    "ACTIVATIONS",
    "DIPVAE",
    "IWAE",
    "LIKELIHOODS",
    "MODELS",
    "VAE",
    "VQVAE",
    "Autoencoder",
    "BetaTCVAE",
    "BlindCheckError",
    "CategoricalVAE",
    "ConditionalVAE",
    "ContractiveAutoencoder",
    "DataFileError",
    "DenoisingAutoencoder",
    "DeviceError",
    "FlowVAE",
    "GradcheckError",
    "InfoVAE",
    "InputError",
    "Keeper",
    "LearnedPriorVAE",
    "Likelihood",
    "MinivaeError",
    "Model",
    "NonFiniteError",
    "NotFittedError",
    "Op",
    "QuantizedAutoencoder",
    "SemiSupervisedVAE",
    "SparseAutoencoder",
    "Tensor",
    "TwoLayerIWAE",
    "TwoLayerVAE",
    "VAEClassifier",
    "WrongGradientError",
    "backward",
    "datasets",
    "disentanglement",
    "gradcheck",
    "load",
    "no_grad",
    "ops",
]

_MODULES = {"datasets": "minivae.datasets", "disentanglement": "minivae.evaluation.disentanglement", "ops": "minivae.ops"}
_HOMES = {"ACTIVATIONS": "minivae.nn", "Keeper": "minivae.training.keeper", "Op": "minivae.op"}
_HOMES |= {"gradcheck": "minivae.proof.gradcheck"}
_HOMES |= dict.fromkeys(("LIKELIHOODS", "Likelihood"), "minivae.models.likelihoods")
_HOMES |= dict.fromkeys(("Tensor", "backward", "no_grad"), "minivae.autodiff")


if not TYPE_CHECKING:  # to a type checker, a module with __getattr__ has every name, misspelt ones too

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used (PEP 562), so that ``import minivae`` costs little more than NumPy does."""
        if name not in __all__:
            raise AttributeError(f"module 'minivae' has no attribute {name!r}")
        if name in _MODULES:
            return importlib.import_module(_MODULES[name])
        return getattr(importlib.import_module(_HOMES.get(name, "minivae.models")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
