"""How much memory a model would take, known before any of it is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

from minivae.checks import check_memory
from minivae.nn import Blank

WIDTHS = (
    *("latent_dim", "hidden_dims", "classifier_hidden_dims", "second_latent_dim", "second_hidden_dims"),
    *("n_components", "n_categories", "n_codes", "code_dim", "n_flows"),
)
COPIES = 4  # of each weight in training: itself, its gradient, and the optimiser's two averages


def check_size(model: Any, n_features: int) -> None:
    """Refuse settings for which this machine has not enough memory."""
    itemsize = np.dtype(model.dtype).itemsize
    try:
        weights = sum(parameter.data.size for parameter in model._make_parameters(n_features, Blank()))
    except (ValueError, OverflowError):  # more numbers than an array can have
        weights = 2**63
    check_memory(", ".join(name for name in WIDTHS if hasattr(model, name)), COPIES * weights * itemsize, "lower them")
    for name in ("n_samples", "n_importance_samples"):  # each sample of a batch goes through the decoder
        widest = max(model.latent_dim, n_features, *model.hidden_dims)
        check_memory(name, getattr(model, name, 1) * model.batch_size * widest * itemsize, "lower it")
