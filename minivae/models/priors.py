"""The prior p(z): where latents come from before any example has been seen.

A prior knows three things: the log density of a point, how to draw one, and how far a posterior is from it.  A VAE is usually
taught with the standard normal, but nothing in the bound (M.3) asks for it.  A prior that is learned goes where the posteriors
are, instead of pulling all of them towards one place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

from minivae.autodiff import Tensor
from minivae.backend import Array, standard_normal
from minivae.nn import Parameter
from minivae.ops import gaussian_nll, kl_standard_normal, log_mixture, mean, reshape
from minivae.training.batches import Rows

Codes = tuple[Tensor, Tensor]  # means and log-variances, (…, k) each


class Prior:
    """What all priors share.

    (P.1)  KL(q(z|x) ‖ p(z)) = E_q[ log q(z|x) − log p(z) ] ≈ (1/s) Σ_i [ log q(z_i|x) − log p(z_i) ],   z_i ~ q(z|x)

    Why by samples: the integral is known for two Gaussians (K.1, K.3), but not for a mixture of them.  The estimate is unbiased.
    The divergence is never negative, but its estimate can be: log q − log p is negative wherever the prior is denser than the
    posterior, and a draw may fall there.  This is no fault, and to clip it at 0 would be one: then the mean would be too high.
    """

    parameters: tuple[Parameter, ...] = ()

    def __init__(self, latent_dim: int, xp: ModuleType, dtype: Any) -> None:
        self.latent_dim, self.xp, self.dtype = latent_dim, xp, dtype

    def log_density(self, z: Tensor, rng: Any) -> Tensor:
        """Return log p(z), (…,) in nats, of points (…, k); ``rng`` is for a prior that can only estimate it."""
        raise NotImplementedError

    def draw(self, n: int, rng: Any) -> Array:
        """Return ``n`` draws from p(z), (n, k)."""
        raise NotImplementedError

    def kl(self, q_mean: Tensor, q_log_var: Tensor, z: Tensor, rng: Any, log_density: Tensor | None = None) -> Tensor:
        """Return KL(q ‖ p) of diagonal Gaussians, (n,) in nats, estimated at draws z (n, k) or (s, n, k) of them.

        ``log_density`` is log p(z), where it has been computed already.
        """
        log_density = self.log_density(z, rng) if log_density is None else log_density
        each = -gaussian_nll(z, q_mean, q_log_var) - log_density  # (P.1)
        return mean(each, axis=0) if len(z.shape) > 2 else each

    def log_ratio(self, z: Tensor, rng: Any) -> Any:
        """Return log [p(z) / N(z; 0, I)], (…,) in nats: by how much this prior differs from a standard normal."""
        return self.log_density(z, rng) + self.standard_nll(z)

    def base(self, n: int, rng: Any) -> Array:
        """Return ``n`` draws (n, …) of what ``unfold`` makes latents of."""
        return self.draw(n, rng)

    def unfold(self, base: Tensor) -> tuple[Tensor, Any]:
        """Return z (…, k) and log r (…,), so that p(z) has the density N(base; 0, I) · r: what a chain can move in (M.7)."""
        return base, self.log_ratio(base, None)

    def start(self, rows: Rows) -> None:
        """Begin at examples from the training data, if this prior has a use for them."""

    def standard_nll(self, z: Tensor) -> Tensor:
        """Return −log N(z; 0, I), (…,) in nats."""
        return gaussian_nll(z, self.xp.zeros_like(z.data), 0.0)


class StandardNormal(Prior):
    """N(0, I): no parameters, and a divergence that is known (K.1)."""

    def log_density(self, z: Tensor, rng: Any) -> Tensor:
        return -self.standard_nll(z)

    def draw(self, n: int, rng: Any) -> Array:
        return standard_normal(rng, (n, self.latent_dim), self.dtype)

    def kl(self, q_mean: Tensor, q_log_var: Tensor, z: Tensor, rng: Any, log_density: Tensor | None = None) -> Tensor:
        return kl_standard_normal(q_mean, q_log_var)  # (K.1)

    def log_ratio(self, z: Tensor, rng: Any) -> Any:
        return 0.0


class Mixture(Prior):
    """A mixture of diagonal Gaussians with equal weights.

    (P.2)  p(z) = (1/m) Σ_c N(z; μ_c, σ²_c)        its logarithm and its gradients are those of T.5

    To draw from it: choose one of the components, all being equally likely, and draw from that one.
    """

    def components(self) -> Codes:
        """Return means and log-variances of the components, (m, k) each."""
        raise NotImplementedError

    def log_density(self, z: Tensor, rng: Any) -> Tensor:
        means, log_vars = self.components()
        log_weight = self.xp.full((), -math.log(len(means.data)), dtype=means.dtype)
        flat = log_mixture(reshape(z, shape=(-1, self.latent_dim)), means, log_vars, log_weight)  # (P.2)
        return reshape(flat, shape=z.shape[:-1])

    def draw(self, n: int, rng: Any) -> Array:
        means, log_vars = (codes.data for codes in self.components())
        chosen = (len(means) * rng.random((n, 1), dtype="float64")[:, 0]).astype(int)
        noise = standard_normal(rng, (n, self.latent_dim), self.dtype)
        return means[chosen] + self.xp.exp(0.5 * log_vars[chosen]) * noise  # (P.2), (R.1)


class LearnedMixture(Mixture):
    """A mixture whose means and log-variances are parameters."""

    def __init__(self, means: Parameter, log_vars: Parameter, xp: ModuleType, dtype: Any) -> None:
        super().__init__(means.shape[1], xp, dtype)
        self.parameters = self.means, self.log_vars = means, log_vars

    def components(self) -> Codes:
        return self.means, self.log_vars


class VampPrior(Mixture):
    """A mixture of posteriors: those of m pseudo-inputs, examples that are learned (Tomczak & Welling 2018).

    (P.3)  p(z) = (1/m) Σ_c q(z|u_c)        μ_c and log σ²_c of P.2 are what the encoder makes of u_c

    Why: averaged over the data, the bound is largest in p(z) for the aggregate posterior, p(z) = (1/N) Σ_i q(z|x_i) (T.2): all that
    is then left of the KL is the information that z has about x (T.1).  But that takes N encodings for each density, and fits the
    training examples.  A few pseudo-inputs stand for them.

    The pseudo-inputs begin as training examples.  The gradient reaches them through the encoder, whose weights get a second
    gradient from here, beside the one through q(z|x).

    To draw from it: choose a pseudo-input, encode it, draw from q(z|u).  Public code has drawn z from N(0, I) instead.  But this
    model never had that prior: the decoder is then asked about places where no posterior has ever been.
    """

    def __init__(self, inputs: Parameter, encode: Callable[[Tensor], Codes], latent_dim: int, xp: ModuleType, dtype: Any) -> None:
        super().__init__(latent_dim, xp, dtype)
        self.inputs, self.encode = inputs, encode
        self.parameters = (self.inputs,)

    def components(self) -> Codes:
        return self.encode(self.inputs)  # (P.3)

    def start(self, rows: Rows) -> None:
        self.inputs.data[...] = rows.spread(len(self.inputs.data))
