"""The models, by name."""

from typing import Any

from minivae.backend import DEVICES
from minivae.checks import DataFileError, DeviceError, MinivaeError, check_choice, reject
from minivae.models.autoencoder import Autoencoder, DenoisingAutoencoder, QuantizedAutoencoder, SparseAutoencoder
from minivae.models.base import Model
from minivae.models.beta_tc import BetaTCVAE
from minivae.models.conditional import ConditionalVAE
from minivae.models.contractive import ContractiveAutoencoder
from minivae.models.flow import FlowVAE
from minivae.models.generative import Generative
from minivae.models.iwae import IWAE
from minivae.models.matching import DIPVAE, InfoVAE
from minivae.models.semisupervised import SemiSupervisedVAE, VAEClassifier
from minivae.models.settings import from_json
from minivae.models.vae import VAE
from minivae.training import checkpoint
from minivae.training.keeper import parameters_of

MODELS: dict[str, type[Generative]] = {
    model.__name__: model
    for model in (
        *(Autoencoder, SparseAutoencoder, DenoisingAutoencoder, ContractiveAutoencoder, QuantizedAutoencoder),
        *(VAE, IWAE, BetaTCVAE, InfoVAE, DIPVAE, FlowVAE, ConditionalVAE, VAEClassifier, SemiSupervisedVAE),
    )
}


def load(path: Any, device: str = "auto") -> Generative:
    """Return the model that ``save`` wrote to ``path``, on ``device``; a training's checkpoint is read as the model it was then.

    The class is found by its name: one of ``MODELS``, or a subclass of your own that is defined (or imported) by now.  Of several
    with the same name it is the one defined last.

    Raises ``DataFileError`` when the file is missing, damaged or not a model.
    """
    check_choice("device", device, DEVICES)
    arrays, record = checkpoint.load(path)
    kinds = MODELS | _own(Generative)
    name = record.get("model")
    if not isinstance(name, str) or name not in kinds:
        mend = "import the module that defines the class, and load again"
        reject(str(path), f"one of the models {', '.join(kinds)}", repr(name), mend, DataFileError)
    kind = kinds[name]
    try:
        model = kind(**(from_json(record["params"]) | {"device": device}))
        model._restore(parameters_of(arrays), record)
    except DeviceError:
        raise
    except Exception as error:  # what the file says may be anything at all
        cause = str(error) if isinstance(error, MinivaeError) else f"{type(error).__name__}: {error}"
        mend = "give names of your own to likelihoods and activations before you load, or save the model anew"
        reject(str(path), f"a model of kind {name}", cause, mend, DataFileError)
    return model


def _own(kind: type[Generative]) -> dict[str, type[Generative]]:
    """Return the subclasses of ``kind``, at any depth, that are defined outside this package, by name."""
    found: dict[str, type[Generative]] = {}
    for subclass in kind.__subclasses__():
        if not subclass.__module__.startswith(f"{__name__}."):
            found[subclass.__name__] = subclass
        found |= _own(subclass)
    return found


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
