"""The variational autoencoder (Kingma & Welling 2014; Rezende, Mohamed & Wierstra 2014) and its β form (Higgins et al. 2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from minivae import estimators
from minivae.autodiff import Tensor, no_grad
from minivae.backend import Array, array_module, generator, standard_normal, to_device
from minivae.batches import Rows
from minivae.checks import check_choice, check_int, check_real
from minivae.estimators import ImportanceEstimate
from minivae.models.base import Model
from minivae.objectives import negative_elbo, warm_up
from minivae.ops import kl_standard_normal, reparameterize


@dataclass(kw_only=True, eq=False)
class VAE(Model):
    """Variational autoencoder: latents z ~ N(0, I), a decoder p(x|z), and an encoder q(z|x) = N(μ(x), σ²(x)) to learn it with.

    (M.1)  p(x) = ∫ p(x|z) p(z) dz                          cannot be computed for a neural decoder, but is bounded:
    (M.2)  log p(x) = KL(q(z|x) ‖ p(z|x)) − KL(q(z|x) ‖ p(z)) + E_q[log p(x|z)]
    (M.3)  ELBO(x) = E_q[log p(x|z)] − KL(q(z|x) ‖ p(z))    ≤ log p(x), since the first term above is never negative
    (M.5)  loss = reconstruction + β KL                     the bound for β = 1, averaged over the batch

    Parameters
    ----------
    beta : weight of the KL term.
    warm_up_epochs : epochs over which that weight rises from 0.

    All other parameters are those of ``minivae.models.base.Model``.

    Attributes
    ----------
    history_ : name → one value per epoch: train_ and test_ ``reconstruction``, ``kl``, ``elbo`` and ``loss`` in nats per example,
        ``kl_per_dimension``, ``active_units`` and ``seconds``.
    encoder_, decoder_, likelihood_, parameters_ : the network.
    """

    beta: float = 1.0
    warm_up_epochs: int = 0

    def _code_width(self) -> int:
        return 2 * self.latent_dim

    def _check_settings(self) -> None:
        super()._check_settings()
        check_real("beta", self.beta, 0)
        check_int("warm_up_epochs", self.warm_up_epochs, 0)

    # The objective ------------------------------------------------------------------------------------------------------------

    def posterior(self, x: Array | Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of q(z|x), two (n, latent_dim) tensors: one product for both heads, then two halves."""
        heads = self.encoder_(x)
        return heads[:, : self.latent_dim], heads[:, self.latent_dim :]

    def terms(self, x: Array, rng: Any) -> dict[str, Tensor]:
        """Return −log p(x|z) at one sample z ~ q(z|x), and KL(q(z|x) ‖ p(z)), each (n,) in nats."""
        mean, log_var = self.posterior(x)
        z = reparameterize(mean, log_var, standard_normal(rng, mean.shape, mean.dtype))  # (R.1)
        return {
            "reconstruction": self.likelihood_.nll(x, self.decoder_(z)),
            "kl": kl_standard_normal(mean, log_var),  # (K.1)
        }

    def loss(self, terms: dict[str, Tensor], epochs_done: float = math.inf) -> Tensor:
        beta = self.beta * warm_up(epochs_done, self.warm_up_epochs)
        return negative_elbo(terms["reconstruction"], terms["kl"], beta)  # (M.5)

    def summarize(self, terms: dict[str, float]) -> dict[str, float]:
        reconstruction, kl = terms["reconstruction"], terms["kl"]
        return {"reconstruction": reconstruction, "kl": kl, "elbo": -(reconstruction + kl), "loss": terms["loss"]}

    # Evaluation ---------------------------------------------------------------------------------------------------------------

    def evaluate(self, rows: Rows) -> tuple[dict[str, float], dict[str, Any]]:
        terms, posteriors = self._score(rows, 1, generator(self.xp_, self.seed, "evaluate"))
        mean, log_var = (self.xp_.concatenate(parts) for parts in zip(*posteriors, strict=True))
        averages = {name: float(values.mean(dtype="float64")) for name, values in terms.items()}
        averages["loss"] = averages["reconstruction"] + self.beta * averages["kl"]
        kl_per_dimension = [float(kl) for kl in estimators.kl_per_dimension(mean, log_var)]
        return averages, {"active_units": estimators.active_units(mean), "kl_per_dimension": kl_per_dimension}

    def elbo(self, x: Any, n_samples: int = 1, seed: int | None = None) -> Array:
        """Return the evidence lower bound of each row (M.3), (n,) in nats: sampled, as the bound demands, never at the mean.

        ``n_samples`` draws of z are averaged: the bound stays the same, its noise falls.
        """
        check_int("n_samples", n_samples, 1)
        terms, _ = self._score(self._scored_rows(x), n_samples, self._generator("evaluate", seed))
        return to_device(array_module(x), -(terms["reconstruction"] + terms["kl"]))

    def _score(self, rows: Rows, n_samples: int, rng: Any) -> tuple[dict[str, Array], list[tuple[Array, Array]]]:
        """Return reconstruction (mean over samples) and KL of all rows, and the posteriors chunk by chunk."""
        reconstruction, kl, posteriors = [], [], []
        with no_grad():
            for part in rows.chunks():
                x = rows.take(part, rng)
                mean, log_var = self.posterior(x)
                nll: Any = 0.0
                for _ in range(n_samples):
                    z = reparameterize(mean, log_var, standard_normal(rng, mean.shape, mean.dtype))
                    nll = nll + self.likelihood_.nll(x, self.decoder_(z)).data / n_samples
                reconstruction.append(nll)
                kl.append(kl_standard_normal(mean, log_var).data)
                posteriors.append((mean.data, log_var.data))
        xp = self.xp_
        return {"reconstruction": xp.concatenate(reconstruction), "kl": xp.concatenate(kl)}, posteriors

    def log_likelihood(self, x: Any, n_samples: int = 100, seed: int | None = None) -> Array:
        """Return an importance-weighted estimate of log p(x) for each row (M.6), (n,) in nats; see ``importance_estimate``."""
        return self.importance_estimate(x, n_samples, seed).log_likelihood

    def importance_estimate(self, x: Any, n_samples: int = 100, seed: int | None = None) -> ImportanceEstimate:
        """Return log p(x) of each row with its standard error and effective sample size (M.6).

        Memory is bounded whatever ``n_samples`` and the number of rows.  Time is one decoder pass per sample and row.
        """
        check_int("n_samples", n_samples, 1)
        rows, rng, parts = self._scored_rows(x), self._generator("evaluate", seed), []
        with no_grad():
            for part in rows.chunks():
                batch = rows.take(part, rng)
                mean, log_var = self.posterior(batch)
                nll = self._nll
                parts.append(estimators.importance_weighted(self.xp_, batch, mean.data, log_var.data, nll, n_samples, rng))
        xp = array_module(x)
        joined = [to_device(xp, self.xp_.concatenate([part[i] for part in parts])) for i in range(3)]
        return ImportanceEstimate(joined[0], joined[1], joined[2], n_samples)

    def _scored_rows(self, x: Any) -> Rows:
        self._require_fit()
        return self._rows(x, n_features=self.n_features_in_)

    def _nll(self, x: Array, z: Array) -> Array:
        """Return −log p(x|z) (s, n) for x (n, d) and z (s, n, k)."""
        s, n, k = z.shape
        outputs = self.decoder_(z.reshape(s * n, k)).data
        return self.likelihood_.nll(x, Tensor(outputs.reshape(s, n, -1))).data

    def score_samples(self, x: Any) -> Array:
        """Return ``log_likelihood(x)``, under scikit-learn's name."""
        return self.log_likelihood(x)

    def score(self, x: Any, y: Any = None) -> float:
        """Return the mean of ``score_samples(x)``: higher is better."""
        return float(self.score_samples(x).mean())

    def anomaly_score(self, x: Any) -> Array:
        """Return −log p(x) of each row (G.5), (n,) in nats: the higher, the stranger."""
        return -self.score_samples(x)

    # Encoding and generating --------------------------------------------------------------------------------------------------

    def encode(self, x: Any) -> tuple[Array, Array]:
        """Return mean and log-variance of q(z|x), each (n, latent_dim).  Pixels are taken as they are, not binarised."""
        heads = self._map(lambda part: self.encoder_(part).data, x, "x", getattr(self, "n_features_in_", 0))
        return heads[:, : self.latent_dim], heads[:, self.latent_dim :]

    def transform(self, x: Any) -> Array:
        """Return the posterior means as features (G.6), (n, latent_dim)."""
        return self.encode(x)[0]

    def sample(self, n: int = 1, seed: int | None = None, pixels: Literal["mean", "draw"] = "mean") -> Array:
        """Return ``n`` new examples (n, d) from the prior (G.1): z ~ N(0, I), then the mean of p(x|z), or a draw from it."""
        check_int("n", n, 1)
        check_choice("pixels", pixels, ("mean", "draw"))
        self._require_fit()
        rng = self._generator("sample", seed)
        z = standard_normal(rng, (n, self.latent_dim), self.dtype)
        if pixels == "mean":
            return self.decode(z)
        outputs = self._map(lambda part: self.decoder_(part).data, z, "z", self.latent_dim)
        return self.likelihood_.draw(self.xp_, outputs, rng)

    def reconstruct(self, x: Any, temperature: float = 0.0, seed: int | None = None) -> Array:
        """Return the decoding of z = μ(x) + τ σ(x) ⊙ ε (G.2), (n, d).

        ``temperature`` τ says how far from the input to stray: 0 decodes the posterior mean, 1 a posterior sample.
        """
        check_real("temperature", temperature, 0)
        mean, log_var = self.encode(x)
        if temperature == 0:
            return self.decode(mean)
        xp = array_module(mean)
        noise = to_device(xp, standard_normal(self._generator("sample", seed), mean.shape, self.dtype))
        return self.decode(mean + temperature * xp.exp(0.5 * log_var) * noise)

    def _generator(self, stream: str, seed: int | None) -> Any:
        """Return the model's own generator for a purpose, or one of the caller's seed: the same call gives the same numbers."""
        self._require_fit()
        return generator(self.xp_, self.seed if seed is None else check_int("seed", seed, 0), stream)
