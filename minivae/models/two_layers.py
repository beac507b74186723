"""Two stochastic layers (Burda, Grosse & Salakhutdinov 2016): a VAE whose prior is itself a VAE."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from minivae.autodiff import Tensor
from minivae.backend import Array, standard_normal
from minivae.checks import check_int, reject
from minivae.evaluation.estimators import active_units
from minivae.models.iwae import IWAE
from minivae.models.priors import Prior
from minivae.models.settings import check_widths
from minivae.models.vae import VAE, Variational
from minivae.nn import MLP
from minivae.ops import gaussian_nll, reparameterize, reshape


class SecondLayer(Prior):
    """A prior for z₁ with latents z₂ of its own.

    (P.4)  p(z₁) = ∫ p(z₁|z₂) N(z₂; 0, I) dz₂ ≈ r = p(z₁|z₂) N(z₂; 0, I) / q(z₂|z₁),   z₂ ~ q(z₂|z₁)

    p(z₁|z₂) and q(z₂|z₁) are diagonal Gaussians, whose means and log-variances two networks compute.

    Why a random estimate will do: E[r] = p(z₁), as in M.6.  With log r in place of log p(z₁), a weight of M.6 becomes

        w = p(x|z₁) p(z₁|z₂) N(z₂; 0, I) / [q(z₁|x) q(z₂|z₁)]

    the weight of both layers together, whose mean over z₁ and z₂ is p(x).  On average log w is the bound of both layers: it is
    below log p(x), because log r is on average below log p(z₁) (Jensen).
    """

    def __init__(self, encoder: MLP, decoder: MLP, latent_dim: int, second_dim: int, xp: ModuleType, dtype: Any) -> None:
        super().__init__(latent_dim, xp, dtype)
        self.encoder, self.decoder, self.second_dim = encoder, decoder, second_dim
        self.parameters = (*encoder.parameters(), *decoder.parameters())

    def log_density(self, z: Tensor, rng: Any) -> Tensor:
        mu, log_var = _heads(self.encoder, z)
        second = reparameterize(mu, log_var, standard_normal(rng, mu.shape, mu.dtype))  # (R.1)
        ratio = gaussian_nll(second, mu, log_var) - self.standard_nll(second)  # log [N(z₂; 0, I) / q(z₂|z₁)]
        return ratio - gaussian_nll(z, *_heads(self.decoder, second))  # (P.4)

    def draw(self, n: int, rng: Any) -> Array:
        return self.unfold(Tensor(self.base(n, rng)))[0].data

    def base(self, n: int, rng: Any) -> Array:
        """Return ``n`` draws of z₂ and of the noise ε with which z₁ is drawn, beside each other."""
        return standard_normal(rng, (n, self.second_dim + self.latent_dim), self.dtype)

    def unfold(self, base: Tensor) -> tuple[Tensor, Any]:
        """Return z₁ = m(z₂) + s(z₂) ε, and 0: z₂ and ε are standard normal, and nothing else is random."""
        return reparameterize(*_heads(self.decoder, base[..., : self.second_dim]), base[..., self.second_dim :]), 0.0  # (R.1)


def _heads(network: MLP, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the log-variance that a network computes from points (…, k)."""
    outputs = network(reshape(z, shape=(-1, z.shape[-1])))
    k = outputs.shape[-1] // 2
    outputs = reshape(outputs, shape=(*z.shape[:-1], 2 * k))
    return outputs[..., :k], outputs[..., k:]


@dataclass(kw_only=True, eq=False)
class TwoLayers(Variational):
    """What turns a model of one layer into one of two."""

    by_samples: ClassVar[str] = "the prior has latents of its own"
    prior_words: ClassVar[str] = "z₂ ~ N(0, I), z₁ ~ p(z₁|z₂)"

    second_latent_dim: int = 10
    second_hidden_dims: tuple[int, ...] = (100,)

    def check_settings(self) -> None:
        super().check_settings()
        check_int("second_latent_dim", self.second_latent_dim, 1)
        check_widths("second_hidden_dims", self.second_hidden_dims)

    def make_prior(self, rng: np.random.Generator) -> Prior:
        first, second, hidden = self.latent_dim, self.second_latent_dim, self.second_hidden_dims
        encoder = MLP("prior.encoder", (first, *hidden, 2 * second), self.activation, self.init, rng)
        decoder = MLP("prior.decoder", (second, *hidden[::-1], 2 * first), self.activation, self.init, rng)
        return SecondLayer(encoder, decoder, first, second, self.xp_, self.dtype)

    def code_statistics(self, mean: Array, log_var: Array) -> dict[str, Any]:
        assert isinstance(self.prior_, SecondLayer)
        second = _heads(self.prior_.encoder, Tensor(mean))[0].data
        return super().code_statistics(mean, log_var) | {"second_active_units": active_units(second)}


@dataclass(kw_only=True, eq=False)
class TwoLayerVAE(TwoLayers, VAE):
    """A VAE with two stochastic layers: x is decoded from z₁, and z₁ from z₂.

    x → q(z₁|x) → z₁ → q(z₂|z₁) → z₂ ~ N(0, I)        z₂ → p(z₁|z₂) → z₁ → p(x|z₁)

    loss = reconstruction + β KL,   KL = E[ log q(z₁|x) − log p(z₁|z₂) + log q(z₂|z₁) − log p(z₂) ] at samples (P.1, P.4)

    The prior of z₁ is learned, and shaped by what is above it.  Where nothing is said of a layer, z₁ is meant: it is what
    ``encode`` returns and ``decode`` takes.  ``sample`` draws z₂, then z₁, then x.

    Parameters
    ----------
    second_latent_dim : number of dimensions of z₂.
    second_hidden_dims : widths of the hidden layers from z₁ to z₂, in reverse order from z₂ to z₁.

    All other parameters are those of ``VAE``, except ``free_bits``, which needs a KL for each dimension.  ``n_samples`` are samples
    of both layers.

    Attributes
    ----------
    prior_ : the second layer, see ``SecondLayer``.

    All others are those of ``VAE``; ``kl_per_dimension`` is measured from N(0, 1), as if that were the prior, and the history also
    has ``second_active_units``: the active units of z₂, for the means of z₁.
    """


@dataclass(kw_only=True, eq=False)
class TwoLayerIWAE(TwoLayers, IWAE):
    """The model of the ``TwoLayerVAE``, trained on the bound M.6, whose weights are those of both layers (P.4).

    Parameters
    ----------
    second_latent_dim, second_hidden_dims : as of ``TwoLayerVAE``.

    All other parameters are those of ``IWAE``, except the gradient "doubly_reparameterized": it would have to reparameterise both
    layers anew.

    Attributes
    ----------
    prior_ : the second layer, see ``SecondLayer``.

    All others are those of ``IWAE``; ``kl_per_dimension`` is measured from N(0, 1), as if that were the prior, and the history also
    has ``second_active_units``: the active units of z₂, for the means of z₁.
    """

    def check_settings(self) -> None:
        super().check_settings()
        if self.gradient != "standard":
            reject("gradient", "standard where there are two layers", repr(self.gradient))
