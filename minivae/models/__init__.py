"""The models, by name."""

from minivae.models.autoencoder import Autoencoder, DenoisingAutoencoder, QuantizedAutoencoder, SparseAutoencoder
from minivae.models.base import Model
from minivae.models.conditional import ConditionalVAE
from minivae.models.contractive import ContractiveAutoencoder
from minivae.models.iwae import IWAE
from minivae.models.semisupervised import SemiSupervisedVAE, VAEClassifier
from minivae.models.vae import VAE

MODELS: dict[str, type[Model]] = {
    model.__name__: model
    for model in (
        *(Autoencoder, SparseAutoencoder, DenoisingAutoencoder, ContractiveAutoencoder, QuantizedAutoencoder),
        *(VAE, IWAE, ConditionalVAE, VAEClassifier, SemiSupervisedVAE),
    )
}

__all__ = [
    "IWAE",
    "MODELS",
    "VAE",
    "Autoencoder",
    "ConditionalVAE",
    "ContractiveAutoencoder",
    "DenoisingAutoencoder",
    "Model",
    "QuantizedAutoencoder",
    "SemiSupervisedVAE",
    "SparseAutoencoder",
    "VAEClassifier",
]
