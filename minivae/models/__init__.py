"""The models, by name."""

from minivae.models.base import Model
from minivae.models.vae import VAE

MODELS: dict[str, type[Model]] = {model.__name__: model for model in (VAE,)}

__all__ = ["MODELS", "VAE", "Model"]
