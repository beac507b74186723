"""The variational autoencoder (Kingma & Welling 2014; Rezende, Mohamed & Wierstra 2014) and its β form (Higgins et al. 2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from minivae.autodiff import Tensor, no_grad
from minivae.backend import Array, standard_normal
from minivae.checks import check_choice, check_int, check_real, check_repeats, reject
from minivae.evaluation.aggregate import decompose
from minivae.evaluation.annealing import Certificate, bidirectional
from minivae.evaluation.estimators import kl_per_dimension
from minivae.kernels.counter_noise import noise_source
from minivae.kernels.whole import obstacle
from minivae.models.generative import Generative
from minivae.models.objectives import capacity_loss, free_bits_kl, negative_elbo, warm_up
from minivae.ops import kl_standard_normal, log, mean, relu, reparameterize, reparameterize_variance, softplus
from minivae.training.batches import Rows

WATCHED, DRAWS = 256, 32  # posteriors and draws, at most, for the parts of the KL after every epoch: a few milliseconds


VARIANCES = ("exp", "softplus")


def log_softplus(raw: Tensor) -> Tensor:
    """Return log softplus(raw).  Below −40, where softplus goes on to underflow, that is raw to the last bit of a double."""
    below = relu(-40.0 - raw)
    return log(softplus(raw + below)) - below


@dataclass(kw_only=True, eq=False)
class Variational(Generative):
    """A model whose encoder gives q(z|x) = N(μ(x), σ²(x)).

    Parameters
    ----------
    posterior_variance : how the encoder's second head r gives the variance: "exp", σ² = eʳ, so that r is log σ² (R.1); or
        "softplus", σ² = softplus(r) (R.3), which grows only as r does.

    Attributes
    ----------
    by_samples : why the KL of this kind of model is estimated at samples, and has no parts; "" where K.1 gives it.
    """

    by_samples: ClassVar[str] = ""

    posterior_variance: str = "exp"

    def check_settings(self) -> None:
        super().check_settings()
        check_choice("posterior_variance", self.posterior_variance, VARIANCES)

    def code_width(self) -> int:
        return 2 * self.latent_dim

    def heads(self, x: Array | Tensor, condition: Array | None = None) -> tuple[Tensor, Tensor]:
        """Return what the encoder says of q(z|x), two (n, latent_dim) tensors: μ and r.  One product for both, then two halves."""
        both = self.encoder(x, condition)
        return both[:, : self.latent_dim], both[:, self.latent_dim :]

    def log_variance(self, raw: Tensor) -> Tensor:
        """Return log σ² for the second head."""
        return raw if self.posterior_variance == "exp" else log_softplus(raw)

    def draw(self, mean: Tensor, raw: Tensor, noise: Array) -> Tensor:
        """Return z ~ q(z|x) from the two heads and standard normal noise, (n, k), or (s, n, k) for s draws each."""
        sampler = reparameterize if self.posterior_variance == "exp" else reparameterize_variance
        return sampler(mean, raw, noise)  # (R.1) or (R.3)

    def posterior(self, x: Array | Tensor, condition: Array | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of q(z|x), two (n, latent_dim) tensors."""
        mean, raw = self.heads(x, condition)
        return mean, self.log_variance(raw)

    def certificate(
        self, n: int = 16, n_chains: int = 8, n_steps: int = 500, seed: int | None = None, y: Any = None
    ) -> tuple[Array, Certificate]:
        """Return ``n`` examples drawn from the model, (n, d), and for each a lower and an upper bound on log p(x) (M.7, M.8).

        This needs no test data, and shows how far an importance-weighted estimate (M.6) for such examples can be trusted.

        Parameters
        ----------
        n_chains, n_steps : chains for each example and direction, and temperatures of each chain; more of either narrow the gap.
        y : the condition of a conditional model, one for each example: the bounds are then on log p(x|y).
        """
        for name, value in (("n", n), ("n_chains", n_chains), ("n_steps", n_steps)):
            check_repeats(name, value)
        self._check_count(n * n_chains, 1)
        rng = self._generator("certificate", seed)
        with no_grad():
            base = self.prior_.base(n, rng)
            rows = Rows(base, self.xp_, self.dtype, argument="z")
            rows.attach(self.encode_condition(y, n))
            condition = rows.condition(slice(None))
            x = self.likelihood_.draw(self.xp_, self.decoder(self.prior_.unfold(Tensor(base))[0], condition).data, rng)

        def nll(base: Tensor) -> Tensor:
            z, log_ratio = self.prior_.unfold(base)
            return self.likelihood_.nll(x, self.decoder(z, condition)) - log_ratio

        return x, bidirectional(self.xp_, nll, base, n_chains, n_steps, rng)

    def bound_terms(self, x: Array, rng: Any, condition: Array | None, n_samples: int = 1) -> tuple[dict[str, Tensor], Any]:
        """Return the terms of the bound (M.4), and the (μ, log σ², z) that they are computed from.

        The terms are −log p(x|z) at z ~ q(z|x), the mean over ``n_samples`` of them, and KL(q(z|x) ‖ p(z)), each (n,) in nats.
        """
        mu, raw = self.heads(x, condition)
        log_var = self.log_variance(raw)
        samples = (n_samples,) if n_samples > 1 else ()
        z = self.draw(mu, raw, standard_normal(rng, (*samples, *mu.shape), mu.dtype))  # (n, k) or (s, n, k)
        nll = self.likelihood_.nll(x, self.decoder(z, condition))
        terms = {"reconstruction": mean(nll, axis=0) if samples else nll, "kl": self.prior_.kl(mu, log_var, z, rng)}
        return terms, (mu, log_var, z)

    def summarize(self, terms: dict[str, float]) -> dict[str, float]:
        return terms | {"elbo": -(terms["reconstruction"] + terms["kl"])}

    def code_statistics(self, mean: Array, log_var: Array) -> dict[str, Any]:
        per_dimension = [float(kl) for kl in kl_per_dimension(mean, log_var)]
        known = super().code_statistics(mean, log_var) | {"kl_per_dimension": per_dimension}
        if self.by_samples:  # then these Gaussians do not determine the parts
            return known
        some = slice(None, None, -(-len(mean) // WATCHED))
        rng = noise_source(self.noise, self.xp_, self.seed_, "evaluate")
        parts = decompose(mean[some], log_var[some], rng, min(DRAWS, len(mean))).named()  # (T.1), the same draws every time
        return known | parts


@dataclass(kw_only=True, eq=False)
class VAE(Variational):
    """Variational autoencoder: latents z ~ N(0, I), a decoder p(x|z), and an encoder q(z|x) = N(μ(x), σ²(x)) to learn it with.

    (M.1)  p(x) = ∫ p(x|z) p(z) dz                          cannot be computed for a neural decoder, but is bounded:
    (M.2)  log p(x) = KL(q(z|x) ‖ p(z|x)) − KL(q(z|x) ‖ p(z)) + E_q[log p(x|z)]
    (M.3)  ELBO(x) = E_q[log p(x|z)] − KL(q(z|x) ‖ p(z))    ≤ log p(x), since the first term above is never negative
    (M.5)  loss = reconstruction + β KL                     the bound for β = 1, averaged over the batch

    Why M.2: log p(x) does not depend on z, so it is its own average over any q(z|x).  Bayes' rule p(x) = p(x|z) p(z) / p(z|x), and
    log q(z|x) added and subtracted, give

        log p(x) = E_q[ log p(x|z) + log p(z) − log p(z|x) ]
                 = E_q[ log p(x|z) ] − E_q[ log q(z|x) − log p(z) ] + E_q[ log q(z|x) − log p(z|x) ]
                 = E_q[ log p(x|z) ] − KL(q(z|x) ‖ p(z)) + KL(q(z|x) ‖ p(z|x))

    since KL(q ‖ p) is E_q[log q − log p].  It is never negative: −KL = E_q[log (p/q)] ≤ log E_q[p/q] = log 1 = 0, as the logarithm
    is concave (Jensen).

    Two other objectives set how much z should say about x:

    loss = reconstruction + β |KL − C|                      ``capacity`` C > 0, raised linearly from 0 (Burgess et al. 2018)
    loss = reconstruction + β Σ_j max(λ, mean_i KL_ij)      ``free_bits`` λ > 0 (Kingma et al. 2016)

    Parameters
    ----------
    beta : weight of the KL term.
    warm_up_epochs : number of epochs over which that weight rises from 0; with ``capacity``, over which C rises.
    free_bits : nats of KL per latent dimension that cost nothing.
    capacity : nats at which the KL of all dimensions together is held.
    n_samples : number of samples z per example over which E_q is averaged in training; more of them make the gradient less noisy.

    All other parameters are those of ``minivae.models.settings.Settings``.

    Attributes
    ----------
    history_ : name → one value per epoch: train_ and test_ ``reconstruction``, ``kl``, ``elbo`` and ``loss`` in nats per example,
        ``kl_per_dimension``, ``active_units`` and ``seconds``; and the parts of the KL (T.1), ``mutual_information``,
        ``total_correlation`` and ``dimension_wise_kl``, of at most 256 examples, so that I is at most log 256.
    encoder_, decoder_, likelihood_, parameters_ : the network.
    """

    beta: float = 1.0
    warm_up_epochs: int = 0
    free_bits: float = 0.0
    capacity: float = 0.0
    n_samples: int = 1

    def check_settings(self) -> None:
        super().check_settings()
        check_real("beta", self.beta, 0)
        check_int("warm_up_epochs", self.warm_up_epochs, 0)
        check_real("free_bits", self.free_bits, 0)
        check_real("capacity", self.capacity, 0)
        check_int("n_samples", self.n_samples, 1)
        if self.free_bits and self.by_samples:
            reject("free_bits", f"0 where {self.by_samples}", self.free_bits, "leave it out")
        if self.free_bits and self.capacity:
            reject("free_bits", "0 where capacity is set", self.free_bits, "choose one of the two")

    def couples_examples(self) -> str:
        return "free_bits" if self.free_bits else "capacity" if self.capacity else ""

    def terms(self, x: Array, rng: Any, condition: Array | None = None) -> dict[str, Tensor]:
        terms, (mu, log_var, _) = self.bound_terms(x, rng, condition, self.n_samples)
        if self.free_bits:
            terms["_kl_each"] = kl_standard_normal(mu[..., None], log_var[..., None])
        return terms | self.pool(terms)

    def pool(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"free_bits_kl": free_bits_kl(terms["_kl_each"], self.free_bits)} if self.free_bits else {}

    def loss(self, terms: dict[str, Tensor], epochs_done: float = math.inf) -> Tensor:
        reconstruction, kl = terms["reconstruction"], terms["kl"]
        share = warm_up(epochs_done, self.warm_up_epochs)
        if self.capacity:
            return capacity_loss(reconstruction, kl, self.beta, share * self.capacity)
        return negative_elbo(reconstruction, terms.get("free_bits_kl", kl), share * self.beta)  # (M.5)

    def whole_obstacle(self) -> str:
        if type(self) is not VAE:  # whose terms or loss may be others
            return super().whole_obstacle()
        known_settings = {"likelihood": "bernoulli", "posterior_variance": "exp", "free_bits": 0, "capacity": 0, "n_samples": 1}
        for name, known in known_settings.items():
            if getattr(self, name) != known:
                return f"{name}={getattr(self, name)!r}, where it knows {known!r}"
        return obstacle((self.n_features_in_, *self.hidden_dims, self.latent_dim), self.activation, self.batch_size)
