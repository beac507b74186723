"""The β-TC-VAE (Chen, Li, Grosse & Duvenaud 2018): a VAE with a weight for each part of its KL."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from minivae.autodiff import Tensor
from minivae.backend import Array
from minivae.checks import check_choice, check_real
from minivae.evaluation.aggregate import ESTIMATORS, log_weights
from minivae.models.objectives import total_correlation_loss
from minivae.models.vae import Variational
from minivae.ops import concat, log_mixture, sum_
from minivae.training.batches import chunks


@dataclass(kw_only=True, eq=False)
class BetaTCVAE(Variational):
    """VAE whose KL is split into mutual information, total correlation and dimension-wise KL (T.1), each with its own weight.

    (T.6)  loss = reconstruction + α I + β TC + γ DW        α = β = γ = 1 is the bound, α = β = γ the β-VAE

    A β-VAE lowers all three, including the information that z has about x.  Here β lowers only the dependence between the
    dimensions of z.  TC and DW need q(z), the mixture of the posteriors of all N examples, which each batch estimates (T.3, T.4).
    The estimate is biased, and more so for small batches: "stratified" gives a TC that is too low and can be negative.  It is good
    enough for training; ``evaluate`` computes TC from all posteriors of a data set.

    Parameters
    ----------
    alpha : weight of the mutual information.  beta : of the total correlation.  gamma : of the dimension-wise KL.
    estimator : how a batch represents all N examples, "stratified" (T.4) or "weighted" (T.3), see
        ``minivae.evaluation.aggregate.log_weights``.

    All other parameters are those of ``minivae.models.settings.Settings``.

    Attributes
    ----------
    history_ : as the VAE's, and train_ and test_ ``batch_total_correlation`` and ``batch_dimension_wise_kl``, as the batches
        estimate them.
    n_data_ : N, the number of training examples.
    encoder_, decoder_, likelihood_, parameters_ : the network.
    """

    learned: ClassVar[tuple[str, ...]] = ("n_data_",)

    alpha: float = 1.0
    beta: float = 6.0
    gamma: float = 1.0
    estimator: str = "stratified"

    def check_settings(self) -> None:
        super().check_settings()
        for name in ("alpha", "beta", "gamma"):
            check_real(name, getattr(self, name), 0)
        check_choice("estimator", self.estimator, ESTIMATORS)

    def couples_examples(self) -> str:
        return "estimator"

    def terms(self, x: Array, rng: Any, condition: Array | None = None) -> dict[str, Tensor]:
        """Return the terms of the bound and the batch's estimates of total correlation and dimension-wise KL, each (n,) in nats.

        More than ``batch_size`` rows are split into groups of that size, so that training and test estimates are comparable.
        """
        terms, (mu, log_var, z) = self.bound_terms(x, rng, condition)
        terms |= {"_mean": mu, "_log_var": log_var, "_z": z}
        return terms | self.pool(terms)

    def pool(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        codes = terms["_mean"], terms["_log_var"], terms["_z"]
        groups = [self._log_densities(*(code[part] for code in codes)) for part in chunks(len(terms["_z"].data), self.batch_size)]
        joint, product, prior = (concat(*densities, axis=0) for densities in zip(*groups))
        return {"batch_total_correlation": joint - product, "batch_dimension_wise_kl": product - prior}

    def _log_densities(self, mu: Tensor, log_var: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log q(z), Σ_j log q(z_j) and log p(z), each (n,)."""
        weights = log_weights(self.xp_, len(z.data), self.n_data_, self.estimator)
        joint = log_mixture(z, mu, log_var, weights)  # (T.5)
        each = log_mixture(z[..., None], mu[..., None], log_var[..., None], weights)
        return joint, sum_(each, axis=-1), self.prior_.log_density(z, None)

    def loss(self, terms: dict[str, Tensor], epochs_done: float = math.inf) -> Tensor:
        return total_correlation_loss(terms, self.alpha, self.beta, self.gamma)  # (T.6)
