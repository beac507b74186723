"""The importance-weighted autoencoder (Burda, Grosse & Salakhutdinov 2016)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from minivae.autodiff import Tensor
from minivae.backend import Array, standard_normal
from minivae.checks import check_choice, check_int
from minivae.models.objectives import importance_weighted_bound
from minivae.models.vae import Variational
from minivae.ops import gaussian_nll, mean, neg, scale_gradient

GRADIENTS = ("standard", "doubly_reparameterized")


@dataclass(kw_only=True, eq=False)
class IWAE(Variational):
    """The model of the VAE, trained on a tighter bound: the weights of several samples of z are averaged before the logarithm.

    (M.6)  loss = −log (1/s) Σ_i w_i,    w_i = p(x|z_i) p(z_i) / q(z_i|x),    z_i = μ + σ ε_i ~ q(z|x),    averaged over the batch

    With one sample it is the negative ELBO (M.3), its KL estimated by log q − log p at the sample instead of integrated.

    "standard" gradient: the derivative of this loss.  With normalised weights w̃_i = w_i / Σ w it is −Σ_i w̃_i ∇ log w_i, as the
    backward of ``logsumexp`` computes it.

    "doubly_reparameterized" gradient (Tucker et al. 2019): ∇ log w_i reaches the encoder through z_i, and also directly, because
    log q(z_i|x) contains μ and σ.  For one sample the direct part is noise with mean zero; as s grows, it drowns out the other
    part.  Reparameterising it once more turns its mean into another gradient through z_i, and together the two are

        encoder:  −Σ_i w̃_i² (∂ log w_i/∂z_i) ∇z_i        decoder:  −Σ_i w̃_i ∇ log w_i, as before

    with the same mean and less variance.  In code: μ and σ are constants in log q, and the gradient that flows into z_i is scaled
    by w̃_i.

    Parameters
    ----------
    n_importance_samples : number s of samples of z for each example.
    gradient : "standard" or "doubly_reparameterized".

    All other parameters are those of ``minivae.models.settings.Settings``.

    Attributes
    ----------
    history_ : as the VAE's, and train_ and test_ ``iw_bound``; the loss is its negative.
    encoder_, decoder_, likelihood_, parameters_ : the network.
    """

    n_importance_samples: int = 5
    gradient: str = "standard"

    def check_settings(self) -> None:
        super().check_settings()
        check_int("n_importance_samples", self.n_importance_samples, 1)
        check_choice("gradient", self.gradient, GRADIENTS)

    def terms(self, x: Array, rng: Any, condition: Array | None = None) -> dict[str, Tensor]:
        """Return the mean of −log p(x|z) over the samples, the KL divergence, and the negative bound, each (n,) in nats."""
        mu, raw = self.heads(x, condition)
        log_var = self.log_variance(raw)
        noise = standard_normal(rng, (self.n_importance_samples, *mu.shape), mu.dtype)
        z = self.draw(mu, raw, noise)  # (s, n, latent_dim)
        weights = None
        if self.gradient == "doubly_reparameterized":
            weights = self.xp_.empty((*z.shape[:2], 1), dtype=z.dtype)  # filled in below, read when backward runs
            z = scale_gradient(z, scale=weights)
        nll = self.likelihood_.nll(x, self.decoder(z, condition))  # (s, n)
        q = (mu, log_var) if weights is None else (mu.data, log_var.data)
        log_prior = self.prior_.log_density(z, rng)
        log_weights = gaussian_nll(z, *q) + log_prior - nll  # log [p(x|z) p(z) / q(z|x)]
        bound = importance_weighted_bound(log_weights)  # (M.6)
        if weights is not None:
            total = bound.data + math.log(self.n_importance_samples)
            weights[..., 0] = self.xp_.exp(log_weights.data - total)
        return {
            "reconstruction": mean(nll, axis=0),
            "kl": self.prior_.kl(mu, log_var, z, rng, log_prior),
            "negative_bound": neg(bound),
        }

    def loss(self, terms: dict[str, Tensor], epochs_done: float = math.inf) -> Tensor:
        return mean(terms["negative_bound"])  # (M.6)

    def summarize(self, terms: dict[str, float]) -> dict[str, float]:
        rest = {name: value for name, value in super().summarize(terms).items() if name != "negative_bound"}
        return rest | {"iw_bound": -terms["negative_bound"]}
