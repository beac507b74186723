"""A VAE with discrete latents: categories instead of real numbers (Jang, Gu & Poole 2017; Maddison, Mnih & Teh 2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from minivae.autodiff import Tensor
from minivae.backend import Array, standard_gumbel
from minivae.checks import check_choice, check_int, check_real, check_repeats
from minivae.evaluation.estimators import ImportanceEstimate, mean_weight, perplexity
from minivae.models.generative import Generative
from minivae.models.objectives import negative_elbo, score_function, warm_up
from minivae.ops import gumbel_softmax, kl_uniform, logsumexp, mean, reshape, straight_through, sum_

GRADIENTS = ("gumbel_softmax", "straight_through", "score_function")


@dataclass(kw_only=True, eq=False)
class CategoricalVAE(Generative):
    """A VAE whose z consists of ``latent_dim`` categorical variables, each a one-hot vector of ``n_categories`` numbers.

    loss = reconstruction + β KL,   KL = Σ_j KL(q(z_j|x) ‖ uniform), exact by Q.3

    The encoder gives the logits of q(z|x), and the decoder sees the one-hot vectors, side by side.  A category that is drawn has no
    derivative by its logits, so training needs a stand-in.  ``gradient`` says which:

    "gumbel_softmax"    the decoder sees the relaxed sample Q.2 instead.  Its gradient is right for a model with such z, which is
                        another model as long as the temperature τ is above 0: training begins at ``temperature`` and lowers τ, by
                        the same factor each epoch, to ``final_temperature``.
    "straight_through"  the decoder sees the one-hot vector of the largest entry, which is a sample (Q.1), and the gradient is that
                        of the relaxed one: the objective is right, its gradient has a bias.
    "score_function"    no relaxation: Q.4, right on average, but noisy.  From two samples on each has the mean of the others as
                        its baseline.

    Test figures, ``elbo``, ``log_likelihood``, ``sample`` and ``reconstruct`` are of the model with one-hot vectors, whatever the
    gradient.  With "gumbel_softmax", training figures are of relaxed z, which may be better than any that can be kept at test time.

    The mean of q(z|x) is the vector of all probabilities π, (latent_dim · n_categories,), and that is what ``encode`` and
    ``transform`` return; its variance is π (1 − π).  ``reconstruct`` decodes z = one-hot(argmax ℓ + τ g): τ = 0 takes the most
    probable categories, τ = 1 draws from q(z|x).  There is nothing between two categories, so ``interpolate`` and ``traverse``
    refuse.

    Parameters
    ----------
    latent_dim : number of categorical variables.
    n_categories : number K of categories that each of them has.
    gradient : "gumbel_softmax", "straight_through" or "score_function".
    temperature, final_temperature : τ of the relaxed samples in the first epoch, and from epoch ``annealing_epochs`` on.
    annealing_epochs : number of epochs over which τ falls.
    beta : weight of the KL term.
    warm_up_epochs : number of epochs over which that weight rises from 0.  At full weight from the start, the KL makes all
        categories equally probable before the decoder has learned what they are for, and training takes long to leave that state.
    n_samples : number of samples z per example over which the reconstruction is averaged in training.

    All other parameters are those of ``minivae.models.settings.Settings``.

    Attributes
    ----------
    history_ : name → one value per epoch: train_ and test_ ``reconstruction``, ``kl``, ``elbo`` and ``loss`` in nats per example;
        ``active_units``, variables whose probabilities vary with x; ``perplexity`` (Q.8), the mean over the variables of how many
        categories are in use; and ``seconds``.
    encoder_, decoder_, likelihood_, parameters_ : the network.
    """

    continuous: ClassVar[bool] = False
    prior_words: ClassVar[str] = "z ~ uniform over the categories"
    around_words: ClassVar[str] = "z = one-hot(argmax ℓ + τ g), g Gumbel noise"

    n_categories: int = 10
    gradient: str = "gumbel_softmax"
    temperature: float = 1.0
    final_temperature: float = 0.5
    annealing_epochs: int = 10
    beta: float = 1.0
    warm_up_epochs: int = 10
    n_samples: int = 1

    def check_settings(self) -> None:
        super().check_settings()
        check_int("n_categories", self.n_categories, 2)
        check_choice("gradient", self.gradient, GRADIENTS)
        check_real("temperature", self.temperature, 0, open_low=True)
        check_real("final_temperature", self.final_temperature, 0, open_low=True)
        check_int("annealing_epochs", self.annealing_epochs, 0)
        check_real("beta", self.beta, 0)
        check_int("warm_up_epochs", self.warm_up_epochs, 0)
        check_int("n_samples", self.n_samples, 1)

    def latent_width(self) -> int:
        return self.latent_dim * self.n_categories

    def code_width(self) -> int:
        return self.latent_width()

    def begin_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def temperature_now(self) -> float:
        """Return τ in this epoch of the training: it falls by the same factor from one epoch to the next."""
        share = warm_up(getattr(self, "_epoch", math.inf), self.annealing_epochs)
        return self.temperature ** (1 - share) * self.final_temperature**share

    # Drawing z ----------------------------------------------------------------------------------------------------------------

    def logits(self, x: Array | Tensor, condition: Array | None = None) -> Tensor:
        """Return the logits of q(z|x), (n, latent_dim, n_categories)."""
        heads = self.encoder(x, condition)
        return reshape(heads, shape=(len(heads.data), self.latent_dim, self.n_categories))

    def posterior(self, x: Array | Tensor, condition: Array | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of q(z|x), two (n, latent_dim · n_categories) tensors: those of one-hot vectors."""
        logits = self.logits(x, condition).data
        log_p = log_softmax(self.xp_, logits.astype("float64"))
        p = self.xp_.exp(log_p)
        variance = self.xp_.maximum(p * -self.xp_.expm1(log_p), 1e-30)
        flat = (len(logits), self.latent_width())
        return Tensor(p.astype(self.dtype).reshape(flat)), Tensor(self.xp_.log(variance).astype(self.dtype).reshape(flat))

    def _gumbel(self, rng: Any, *counts: int) -> Array:
        """Return noise to draw z with, (*counts, latent_dim, n_categories): ``counts`` are n, or s and n for s draws of each."""
        drawn = standard_gumbel(rng, (*counts, self.latent_width()), self.dtype)
        return drawn.reshape(*counts, self.latent_dim, self.n_categories)

    def _nll(self, x: Array, z: Array | Tensor, condition: Array | None) -> Tensor:
        """Return −log p(x|z), (s, n), for z (s, n, latent_dim, n_categories)."""
        return self.likelihood_.nll(x, self.decoder(reshape(z, shape=(*z.shape[:2], self.latent_width())), condition))

    # The objective ------------------------------------------------------------------------------------------------------------

    def terms(self, x: Array, rng: Any, condition: Array | None = None) -> dict[str, Tensor]:
        """Return −log p(x|z), with the gradient that was chosen, and KL(q(z|x) ‖ uniform), each (n,) in nats."""
        logits = self.logits(x, condition)
        noise = self._gumbel(rng, self.n_samples, len(x))
        if self.gradient == "score_function":
            z = one_hot(self.xp_, logits.data + noise)  # (Q.1)
            nll = score_function(self._nll(x, z, condition), log_mass(z, logits))  # (Q.4)
        else:
            relaxed = gumbel_softmax(logits, noise, temperature=self.temperature_now())  # (Q.2)
            hard = self.gradient == "straight_through"
            nll = self._nll(x, straight_through(relaxed, value=one_hot(self.xp_, relaxed.data)) if hard else relaxed, condition)
        return {"reconstruction": mean(nll, axis=0), "kl": sum_(kl_uniform(logits), axis=-1)}  # (Q.3)

    def terms_of_test(self, x: Array, rng: Any, condition: Array | None = None) -> dict[str, Tensor]:
        """Return the terms for one-hot z."""
        logits = self.logits(x, condition)
        z = one_hot(self.xp_, logits.data + self._gumbel(rng, self.n_samples, len(x)))  # (Q.1)
        return {"reconstruction": mean(self._nll(x, z, condition), axis=0), "kl": sum_(kl_uniform(logits), axis=-1)}

    def loss(self, terms: dict[str, Tensor], epochs_done: float = math.inf) -> Tensor:
        return negative_elbo(terms["reconstruction"], terms["kl"], warm_up(epochs_done, self.warm_up_epochs) * self.beta)  # (M.5)

    def summarize(self, terms: dict[str, float]) -> dict[str, float]:
        return terms | {"elbo": -(terms["reconstruction"] + terms["kl"])}

    def code_statistics(self, mean: Array, log_var: Array) -> dict[str, Any]:
        used = mean.mean(axis=0, dtype="float64").reshape(self.latent_dim, self.n_categories)
        return super().code_statistics(mean, log_var) | {"perplexity": float(perplexity(used).mean())}

    # Uses ---------------------------------------------------------------------------------------------------------------------

    def draw_prior(self, n: int, rng: Any) -> Array:
        """Return z (n, latent_dim · n_categories) with categories that are all equally probable."""
        return one_hot(self.xp_, self._gumbel(rng, n)).reshape(n, self.latent_width())  # (Q.1)

    def reconstruct(self, x: Any, temperature: float = 0.0, seed: int | None = None, y: Any = None) -> Array:
        """Return decodings of z = one-hot(argmax ℓ + τ g), (n, d): the most probable categories (τ = 0), or a draw (τ = 1)."""
        check_real("temperature", temperature, 0)
        rng = self._generator("sample", seed)

        def rebuilt(x: Array, condition: Array | None) -> Array:
            logits = self.logits(x, condition).data
            z = one_hot(self.xp_, logits + temperature * self._gumbel(rng, len(x)))
            return self._expected(z.reshape(len(x), self.latent_width()), condition)

        return self._map(rebuilt, x, y, "x", self.n_features_in_)

    def elbo(self, x: Any, n_samples: int = 1, seed: int | None = None, y: Any = None) -> Array:
        check_repeats("n_samples", n_samples)

        def bound(x: Array, condition: Array | None, rng: Any) -> Array:
            logits, nll = self.logits(x, condition), 0.0
            for _ in range(n_samples):
                z = one_hot(self.xp_, logits.data + self._gumbel(rng, 1, len(x)))  # (Q.1)
                nll = nll + self._nll(x, z, condition).data[0] / n_samples
            return -(nll + kl_uniform(logits).data.sum(axis=1))  # (M.3)

        return self._or_minus_infinity(self._score(bound, x, y, seed))

    def importance_estimate(self, x: Any, n_samples: int = 100, seed: int | None = None, y: Any = None) -> ImportanceEstimate:
        check_repeats("n_samples", n_samples)

        def estimate(x: Array, condition: Array | None, rng: Any) -> Array:
            logits = self.logits(x, condition)

            def draw(s: int) -> Array:
                z = one_hot(self.xp_, logits.data + self._gumbel(rng, s, len(x)))
                log_prior = -self.latent_dim * math.log(self.n_categories)
                return log_prior - log_mass(z, logits).data.astype("float64") - self._nll(x, z, condition).data  # (M.6)

            return self.xp_.stack(mean_weight(self.xp_, len(x), draw, n_samples)[:3], axis=1)

        columns = self._score(estimate, x, y, seed).T
        return ImportanceEstimate(self._or_minus_infinity(columns[0]), columns[1], columns[2], n_samples)


def one_hot(xp: Any, scores: Array) -> Array:
    """Return 1 at the largest of K scores (…, K) and 0 elsewhere; with logits plus Gumbel noise a draw of the variable (Q.1)."""
    return (scores.argmax(axis=-1)[..., None] == xp.arange(scores.shape[-1])).astype(scores.dtype)  # (Q.1)


def log_mass(z: Array, logits: Tensor) -> Tensor:
    """Return log q(z|x) of one-hot z (s, n, latent_dim, n_categories): (s, n)."""
    return sum_(sum_(z * logits, axis=-1) - logsumexp(logits), axis=-1)


def log_softmax(xp: Any, logits: Array) -> Array:
    """Return the logarithms of the probabilities."""
    return logits - logsumexp(logits, keepdims=True).data
