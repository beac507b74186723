"""The models by name, and ``load``, which reads one from a file."""

from typing import Any

from minivae.backend import DEVICES
from minivae.checks import check_choice, reject
from minivae.models.autoencoder import Autoencoder, DenoisingAutoencoder, QuantizedAutoencoder, SparseAutoencoder
from minivae.models.base import Model
from minivae.models.beta_tc import BetaTCVAE
from minivae.models.categorical import CategoricalVAE
from minivae.models.codebook import VQVAE
from minivae.models.conditional import ConditionalVAE
from minivae.models.contractive import ContractiveAutoencoder
from minivae.models.flow import FlowVAE
from minivae.models.generative import Generative
from minivae.models.iwae import IWAE
from minivae.models.learned_prior import LearnedPriorVAE
from minivae.models.matching import DIPVAE, InfoVAE
from minivae.models.semisupervised import SemiSupervisedVAE, VAEClassifier
from minivae.models.two_layers import TwoLayerIWAE, TwoLayerVAE
from minivae.models.vae import VAE
from minivae.training import checkpoint

MODELS: dict[str, type[Generative]] = {
    model.__name__: model
    for model in (
        *(Autoencoder, SparseAutoencoder, DenoisingAutoencoder, ContractiveAutoencoder, QuantizedAutoencoder),
        *(VAE, IWAE, BetaTCVAE, InfoVAE, DIPVAE, FlowVAE, LearnedPriorVAE, TwoLayerVAE, TwoLayerIWAE, CategoricalVAE, VQVAE),
        *(ConditionalVAE, VAEClassifier, SemiSupervisedVAE),
    )
}


def load(path: Any, device: str = "auto") -> Generative:
    """Return the model that ``save`` wrote to ``path``, on ``device``; a training's checkpoint is read as the model it was then.

    The class is found by its name: one of ``MODELS``, or a subclass of your own that is defined (or imported) by now.  Of several
    with the same name it is the one defined last.

    Raises ``DataFileError`` when the file is missing, damaged or not a model.
    """
    check_choice("device", device, DEVICES)
    with checkpoint.reading(path, "a model") as kept:
        return kind_of(kept.record).restored(kept, device)


def kind_of(record: dict[str, Any]) -> type[Generative]:
    """Return the class that a record names."""
    kinds, name = MODELS | _own(Generative), record.get("model")
    if not isinstance(name, str) or name not in kinds:
        mend = "import the module that defines the class, and load again"
        reject("model", f"one of the models {', '.join(kinds)}", repr(name)[:80], mend)
    return kinds[name]


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
    "VQVAE",
    "Autoencoder",
    "BetaTCVAE",
    "CategoricalVAE",
    "ConditionalVAE",
    "ContractiveAutoencoder",
    "DenoisingAutoencoder",
    "FlowVAE",
    "InfoVAE",
    "LearnedPriorVAE",
    "Model",
    "QuantizedAutoencoder",
    "SemiSupervisedVAE",
    "SparseAutoencoder",
    "TwoLayerIWAE",
    "TwoLayerVAE",
    "VAEClassifier",
]
