"""A posterior that is not Gaussian: a VAE whose q(z|x) is a Gaussian bent by planar flows (Rezende & Mohamed 2015)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from minivae.autodiff import Tensor
from minivae.backend import Array, standard_normal
from minivae.checks import check_int, check_real
from minivae.models.vae import VAE
from minivae.ops import kl_standard_normal, mean, planar, planar_log_det, softplus, square, sum_

NO_PLANE = 1e-6  # added to ‖w‖², so that a step with w = 0 moves nothing instead of being 0/0: then wᵀû is wᵀu = 0

STILL = math.log(math.e - 1)  # where softplus is 1

Step = tuple[Tensor, Tensor, Tensor]  # u and w (n, k), b (n,)


def planar_flow(z: Tensor, steps: Iterable[Step]) -> tuple[Tensor, Tensor]:
    """Apply planar steps (F.1) to z (…, n, k); return the result, and the logarithm of the change in volume, (…, n).

    A step is invertible as long as uᵀw > −1: then space is stretched along u by a factor that is positive everywhere (F.2).  So u
    is first moved along w until that holds:

        û = u + [m − wᵀu] w / ‖w‖²,   m = softplus(wᵀu + c) − 1,    which makes wᵀû = m > −1

    The paper has c = 0; with c = log(e − 1) a step with u = 0 does nothing, so that a flow can begin near the identity.
    """
    log_det: Any = 0.0
    for u, w, b in steps:
        inner = sum_(u * w, axis=-1, keepdims=True)
        u_hat = u + (softplus(inner + STILL) - 1 - inner) * w / (sum_(square(w), axis=-1, keepdims=True) + NO_PLANE)
        log_det = log_det + planar_log_det(z, u_hat, w, b)  # (F.2)
        z = planar(z, u_hat, w, b)  # (F.1)
    return z, log_det


@dataclass(kw_only=True, eq=False)
class FlowVAE(VAE):
    """A VAE whose posterior is z_K = f_K(… f_1(z_0)), z_0 ~ N(μ(x), σ²(x)): planar flows bend the Gaussian that the encoder gives.

    (F.4)  KL(q_K ‖ p) = KL(q_0 ‖ p) + E[ log p(z_0) − log p(z_K) − log |det ∂z_K/∂z_0| ]

    Why: by F.3, log q_K(z_K) = log q_0(z_0) − log |det ∂z_K/∂z_0|.  Add and subtract log p(z_0), and integrate what is a
    divergence of Gaussians by K.1; the rest is estimated at the samples.  So this KL, unlike the VAE's, may come out negative for a
    batch, as any estimate by samples may.

    A Gaussian with a diagonal covariance cannot follow a posterior that is bent or tilted; the gap that this leaves between
    the bound and log p(x) is what flows are for (M.2).  The encoder computes the steps of each example along with μ and log σ².

    Parameters
    ----------
    n_flows : planar steps K.

    All other parameters are those of ``VAE``, except ``free_bits``, which needs a KL for each dimension.

    Attributes
    ----------
    As of ``VAE``; ``kl_per_dimension`` and ``active_units`` are those of the Gaussian before the flow.
    """

    by_samples: ClassVar[str] = "the posterior has a flow"

    n_flows: int = 4

    def check_settings(self) -> None:
        super().check_settings()
        check_int("n_flows", self.n_flows, 1)

    def code_width(self) -> int:
        return 2 * self.latent_dim + self.n_flows * (2 * self.latent_dim + 1)

    def heads(self, x: Array | Tensor, condition: Array | None = None) -> tuple[Tensor, Tensor]:
        """Return what the encoder says of the Gaussian q_0(z|x), two (n, latent_dim) tensors."""
        return self._heads_and_steps(x, condition)[:2]

    def _heads_and_steps(self, x: Array | Tensor, condition: Array | None) -> tuple[Tensor, Tensor, list[Step]]:
        """Return the two heads of q_0(z|x), and the steps of its flow."""
        k, heads = self.latent_dim, self.encoder(x, condition)
        starts = range(2 * k, heads.shape[1], 2 * k + 1)
        steps = [(heads[:, at : at + k], heads[:, at + k : at + 2 * k], heads[:, at + 2 * k]) for at in starts]
        return heads[:, :k], heads[:, k : 2 * k], steps

    def terms(self, x: Array, rng: Any, condition: Array | None = None) -> dict[str, Tensor]:
        """Return −log p(x|z_K) and KL(q_K(z|x) ‖ p(z)), the latter estimated at the samples (F.4), each (n,) in nats."""
        mu, raw, steps = self._heads_and_steps(x, condition)
        z = self.draw(mu, raw, standard_normal(rng, (self.n_samples, *mu.shape), mu.dtype))
        nll, bend = self._moved(x, z, condition, steps)
        kl = kl_standard_normal(mu, self.log_variance(raw)) + mean(bend, axis=0)  # (F.4)
        return {"reconstruction": mean(nll, axis=0), "kl": kl}

    def energy(self, x: Array, z: Tensor, condition: Array | None, rng: Any) -> Tensor:
        nll, bend = self._moved(x, z, condition, self._heads_and_steps(x, condition)[2])
        return nll + bend

    def _moved(self, x: Array, z: Tensor, condition: Array | None, steps: list[Step]) -> tuple[Tensor, Tensor]:
        """Return −log p(x|z_K), and log p(z_0) − log p(z_K) − log |det|, each (s, n) for z_0 (s, n, k)."""
        there, log_det = planar_flow(z, steps)
        bend = 0.5 * (sum_(square(there), axis=-1) - sum_(square(z), axis=-1)) - log_det  # (F.3)
        return self.likelihood_.nll(x, self.decoder(there, condition)), bend

    def encode(self, x: Any, y: Any = None) -> tuple[Array, Array]:
        """Return the mean of q_0(z|x) moved by the flow, and the log-variance of q_0, each (n, latent_dim)."""
        return self._drawn(x, y, lambda mu, log_var: mu), super().encode(x, y)[1]

    def reconstruct(self, x: Any, temperature: float = 0.0, seed: int | None = None, y: Any = None) -> Array:
        """Return decodings of points around the code of each row, (n, d): z_0 as in G.2, moved by the flow."""
        check_real("temperature", temperature, 0)
        rng = self._generator("sample", seed)

        def around(mu: Array, log_var: Array) -> Array:
            return mu + temperature * self.xp_.exp(0.5 * log_var) * standard_normal(rng, mu.shape, mu.dtype)

        return self.decode(self._drawn(x, y, around), y)

    def _drawn(self, x: Any, y: Any, draw: Callable[[Array, Array], Array]) -> Array:
        """Return ``draw(mean, log_var)`` of each row's q_0, moved by the flow."""
        self._require_fit()

        def moved(x: Array, condition: Array | None) -> Array:
            mu, raw, steps = self._heads_and_steps(x, condition)
            return planar_flow(Tensor(draw(mu.data, self.log_variance(raw).data)), steps)[0].data

        return self._map(moved, x, y, "x", self.n_features_in_)
