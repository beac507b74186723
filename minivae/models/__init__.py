"""The models, by name."""

from typing import Any

from minivae.backend import DEVICES
from minivae.checks import DataFileError, DeviceError, MinivaeError, check_choice, reject
from minivae.models.autoencoder import Autoencoder, DenoisingAutoencoder, QuantizedAutoencoder, SparseAutoencoder
from minivae.models.base import Model
from minivae.models.beta_tc import BetaTCVAE
from minivae.models.conditional import ConditionalVAE
from minivae.models.contractive import ContractiveAutoencoder
from minivae.models.iwae import IWAE
from minivae.models.matching import DIPVAE, InfoVAE
from minivae.models.semisupervised import SemiSupervisedVAE, VAEClassifier
from minivae.models.settings import from_json
from minivae.models.vae import VAE
from minivae.training import checkpoint
from minivae.training.keeper import parameters_of

MODELS: dict[str, type[Model]] = {
    model.__name__: model
    for model in (
        *(Autoencoder, SparseAutoencoder, DenoisingAutoencoder, ContractiveAutoencoder, QuantizedAutoencoder),
        *(VAE, IWAE, BetaTCVAE, InfoVAE, DIPVAE, ConditionalVAE, VAEClassifier, SemiSupervisedVAE),
    )
}


def load(path: Any, device: str = "auto") -> Model:
    """Return the model that ``Model.save`` wrote to ``path``, on ``device``; or the one of a training's state
    (``minivae.training.keeper``).

    Raises ``DataFileError`` when the file is missing, damaged or not a model.
    """
    check_choice("device", device, DEVICES)
    arrays, record = checkpoint.load(path)
    try:
        kind = MODELS[check_choice("model", record["model"], MODELS)]
        model = kind(**(from_json(record["params"]) | {"device": device}))
        model._restore(parameters_of(arrays), record)
    except DeviceError:
        raise
    except Exception as error:  # what the file says may be anything at all
        cause = str(error) if isinstance(error, MinivaeError) else f"{type(error).__name__}: {error}"
        reject(str(path), "a model", cause, "save the model anew", DataFileError)
    return model


__all__ = [
    "DIPVAE",
    "IWAE",
    "MODELS",
    "VAE",
    "Autoencoder",
    "BetaTCVAE",
    "ConditionalVAE",
    "ContractiveAutoencoder",
    "DenoisingAutoencoder",
    "InfoVAE",
    "Model",
    "QuantizedAutoencoder",
    "SemiSupervisedVAE",
    "SparseAutoencoder",
    "VAEClassifier",
]
