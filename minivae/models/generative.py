"""What a trained model can do: encode, decode, generate, and say how probable an example is.

All of it follows from the parts of a model: q(z|x) (``posterior``), p(z) (``prior_``), and p(x|z) (``decoder`` and likelihood).
``y`` is the condition of a conditional model (A.6); the others ignore it.
Results are NumPy arrays for NumPy input and CuPy arrays for CuPy input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np

from minivae.autodiff import Tensor, no_grad
from minivae.backend import Array, array_module, as_array, standard_normal, to_device, to_numpy
from minivae.checks import check_choice, check_int, check_memory, check_real, check_repeats, reject
from minivae.evaluation.estimators import ImportanceEstimate, importance_weighted
from minivae.evaluation.latent import interpolate, traverse
from minivae.kernels.counter_noise import noise_source
from minivae.models.base import Model
from minivae.ops import kl_standard_normal, reparameterize
from minivae.training.batches import Rows

Scored = Callable[[Array, Array | None, Any], Array]


class Generative(Model):
    """The methods of a trained model.

    ``continuous`` says whether there are points between two latent vectors, ``prior_words`` and ``around_words`` what ``sample``
    and ``reconstruct`` decode.
    """

    continuous: ClassVar[bool] = True
    prior_words: ClassVar[str] = "z ~ N(0, I)"
    around_words: ClassVar[str] = "z = μ + τ σ ε"

    def energy(self, x: Array, z: Tensor, condition: Array | None, rng: Any) -> Tensor:
        """Return −log [p(x|z) p(z) / N(z; 0, I)], (s, n) in nats, for x (n, d) and draws z (s, n, k) of the encoder's Gaussian.

        With a standard normal prior that is −log p(x|z).  A model whose z goes on from that Gaussian to somewhere else says so
        here: the bound and the importance weights are made of this, N(z; 0, I) and q(z|x).
        """
        return self.likelihood_.nll(x, self.decoder(z, condition)) - self.prior_.log_ratio(z, rng)

    # Encoding and decoding ----------------------------------------------------------------------------------------------------

    def encode(self, x: Any, y: Any = None) -> tuple[Array, Array]:
        """Return mean and log-variance of q(z|x), each (n, latent_dim).  Pixels are taken as they are, not binarised."""
        self._require_fit()

        def both(x: Array, condition: Array | None) -> Array:
            mean, log_var = self.posterior(x, condition)
            return self.xp_.concatenate([mean.data, log_var.data], axis=1)

        heads = self._map(both, x, y, "x", self.n_features_in_)
        return heads[:, : self.latent_width()], heads[:, self.latent_width() :]

    def decode(self, z: Any, y: Any = None) -> Array:
        """Return the expected features E[x|z] (n, d) of latent vectors (n, latent_dim)."""
        z = as_array(z, "z")
        whole = z.dtype.kind in "biu"  # numbers like any other: only data have 8-bit pixels
        return self._map(self._expected, z.astype(self.dtype) if whole else z, y, "z", self.latent_width())

    def _expected(self, z: Array, condition: Array | None) -> Array:
        return self.likelihood_.mean(self.xp_, self.decoder(z, condition).data)

    def transform(self, x: Any, y: Any = None) -> Array:
        """Return the posterior means as features, (n, latent_dim).

        (G.6)  x → μ(x), the mean of q(z|x)
        """
        return self._as_asked(self.encode(x, y)[0], x)  # (G.6)

    def inverse_transform(self, z: Any, y: Any = None) -> Array:
        """Return ``decode(z)``, under scikit-learn's name."""
        return self.decode(z, y)

    def fit_transform(self, x: Any, y: Any = None, **fit_params: Any) -> Array:
        """Return ``fit(x, y).transform(x, y)``."""
        return self.fit(x, y, **fit_params).transform(x, y)

    def fill_labels(self, x: Any, y: Any) -> Any:
        """Return ``y`` with a label for every row of ``x``, for models that can tell one; all others return ``y`` as it is."""
        return y

    # Generating ---------------------------------------------------------------------------------------------------------------

    def sample(self, n: int = 1, seed: int | None = None, pixels: Literal["mean", "draw"] = "mean", y: Any = None) -> Array:
        """Return ``n`` new examples (n, d), as NumPy.

        Without a ``seed`` every call draws others; the first call after ``fit`` or ``load`` draws from the model's own seed, the
        second from the next state of it, and so on, so that a script gives the same examples whenever it is run.

        (G.1)  z ~ p(z),   then x = E[x|z] (pixels "mean") or x ~ p(x|z) ("draw")
        """
        self._check_count(n, 1)
        check_choice("pixels", pixels, ("mean", "draw"))
        self._require_finite()
        rng = self._generator("sample", seed, *self._next_call(seed))
        z = self.draw_prior(n, rng)  # (G.1)

        def pictures(z: Array, condition: Array | None) -> Array:
            outputs = self.decoder(z, condition).data
            return self.likelihood_.mean(self.xp_, outputs) if pixels == "mean" else self.likelihood_.draw(self.xp_, outputs, rng)

        return to_numpy(self._map(pictures, z, y, "z", self.latent_width()))

    def draw_prior(self, n: int, rng: Any) -> Array:
        """Return ``n`` draws z (n, latent_width) of the prior."""
        return self.prior_.draw(n, rng)

    def reconstruct(self, x: Any, temperature: float = 0.0, seed: int | None = None, y: Any = None) -> Array:
        """Return a decoded point near the code of each row, (n, d).

        (G.2)  z = μ(x) + τ σ(x) ⊙ ε,   ε ~ N(0, I)

        The ``temperature`` τ scales the noise: 0 decodes the posterior mean, 1 decodes a sample of the posterior.
        """
        temperature = check_real("temperature", temperature, 0)
        y = self.fill_labels(x, y)
        mean, log_var = self.encode(x, y)
        if temperature == 0:
            return self.decode(mean, y)
        xp = array_module(mean)
        noise = to_device(xp, standard_normal(self._generator("sample", seed), mean.shape, self.dtype))
        return self.decode(mean + temperature * xp.exp(0.5 * log_var) * noise, y)  # (G.2)

    def interpolate(
        self, a: Any, b: Any, n: int = 9, path: Literal["linear", "spherical"] = "linear", y: Any = None, y_end: Any = None
    ) -> Array:
        """Return ``n`` decoded points (n, d) on the way from example ``a`` (d,) to example ``b`` (d,) (G.3).

        For a conditional model ``y`` is the condition of ``a``, and ``y_end`` that of ``b``, by default the same.  The condition
        goes in a straight line from one to the other, so that the path ends at what ``b`` is rebuilt as.
        """
        self._require_between("interpolate")
        self._check_count(n, 2)
        y, y_end = self.fill_labels(_one(a), y), self.fill_labels(_one(b), y if y_end is None else y_end)
        start, end = self.encode(_one(a), y)[0][0], self.encode(_one(b), y_end)[0][0]
        z = interpolate(array_module(start, end), start, end, n, path)
        first, last = (self.encode_condition(one, 1) for one in (y, y_end))
        if first is None:
            return self.decode(z, y)
        t = np.linspace(0, 1, n)[:, None]
        between = (1 - t) * to_numpy(first) + t * to_numpy(last)
        return self._map(self._expected, z, None, "z", self.latent_dim, between)

    def traverse(self, x: Any, dim: int, n: int = 9, span: float = 3.0, y: Any = None) -> Array:
        """Return ``n`` decodings (n, d) of example ``x`` (d,) while latent ``dim`` runs from −span to span (G.4)."""
        self._require_between("traverse")
        self._check_count(n, 2)
        y = self.fill_labels(_one(x), y)
        z = self.encode(_one(x), y)[0][0]
        return self.decode(traverse(array_module(z), z, dim, n, span), y)

    def _check_count(self, n: Any, low: int) -> None:
        """Refuse a number of examples to make for which this machine has no room."""
        self._require_finite()
        numbers = 2 * (self.n_features_in_ + self.latent_width())  # of each: in parts, and put together
        check_memory("n", check_int("n", n, low) * numbers * np.dtype(self.dtype).itemsize, "lower it")

    def _require_between(self, use: str) -> None:
        self._require_finite()
        if not self.continuous:
            reject(use, "a model with points between two latent vectors", type(self).__name__, "use sample or reconstruct")

    # Scoring ------------------------------------------------------------------------------------------------------------------

    def elbo(self, x: Any, n_samples: int = 1, seed: int | None = None, y: Any = None) -> Array:
        """Return the evidence lower bound of each row (M.3), (n,) in nats, at samples of z: at the mean it would not be a bound.

        Averaging ``n_samples`` draws of z does not change the bound, only lowers its noise.  What is drawn for a row
        depends on the row and the seed, not on the rows it comes with (N.4).
        """
        check_repeats("n_samples", n_samples)

        def bound(x: Array, condition: Array | None, rng: Any) -> Array:
            mean, log_var = self.posterior(x, condition)
            nll = 0.0
            for _ in range(n_samples):
                z = reparameterize(mean, log_var, standard_normal(rng, mean.shape, mean.dtype))  # (R.1)
                nll = nll + self.energy(x, z, condition, rng).data / n_samples
            return -(nll + kl_standard_normal(mean, log_var).data)  # (M.3)

        return self._or_minus_infinity(self._score(bound, x, y, seed))

    def log_likelihood(self, x: Any, n_samples: int = 100, seed: int | None = None, y: Any = None) -> Array:
        """Return an importance-weighted estimate of log p(x) for each row (M.6), (n,) in nats; see ``importance_estimate``."""
        return self.importance_estimate(x, n_samples, seed, y).log_likelihood

    def importance_estimate(self, x: Any, n_samples: int = 100, seed: int | None = None, y: Any = None) -> ImportanceEstimate:
        """Return log p(x) of each row with its standard error and effective sample size (M.6).

        Memory does not grow with ``n_samples`` or the number of rows.  Time is one decoder pass per sample and row.
        """
        check_repeats("n_samples", n_samples)

        def estimate(x: Array, condition: Array | None, rng: Any) -> Array:
            mean, log_var = self.posterior(x, condition)

            def nll(x: Array, z: Array) -> Array:
                return self.energy(x, Tensor(z), condition, rng).data

            parts = importance_weighted(self.xp_, x, mean.data, log_var.data, nll, n_samples, rng)
            return self.xp_.stack(parts[:3], axis=1)

        columns = self._score(estimate, x, y, seed).T
        return ImportanceEstimate(self._or_minus_infinity(columns[0]), columns[1], columns[2], n_samples)

    def score_samples(self, x: Any, y: Any = None) -> Array:
        """Return ``log_likelihood(x)``, under scikit-learn's name."""
        return self.log_likelihood(x, y=y)

    def score(self, x: Any, y: Any = None) -> float:
        """Return the mean of ``score_samples(x)``: higher is better."""
        return float(self.score_samples(x, y).mean())

    def anomaly_score(self, x: Any, y: Any = None) -> Array:
        """Return how strange each row is, (n,) in nats: the higher, the stranger.

        (G.5)  −log p(x)
        """
        return -self.score_samples(x, y)  # (G.5)

    # Row by row ---------------------------------------------------------------------------------------------------------------

    def _map(
        self, function: Callable[[Array, Array | None], Array], x: Any, y: Any, argument: str, width: int, condition: Any = None
    ) -> Array:
        """Apply ``function(rows, condition)`` chunk by chunk, without recording, to numbers that are not binarised.

        The condition is that of ``y``, unless it is given as an (n, c) array.
        """
        self._require_fit()
        rows = Rows(x, self.xp_, self.dtype, n_features=width, argument=argument)
        rows.attach(self.encode_condition(y, len(rows)) if condition is None else condition)
        return self._over(lambda rows, condition, _: function(rows, condition), rows, None, x)

    def _score(self, function: Scored, x: Any, y: Any, seed: int | None) -> Array:
        """Apply ``function(rows, condition, noise)`` in the same way to data treated as the training data were.

        The noise of a row, and its binarisation, depend on the row and the seed alone.
        """
        self._require_fit()
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # see ``_or_minus_infinity``
            return self._over(function, self._rows(x, y, n_features=self.n_features_in_), seed, x)

    def _or_minus_infinity(self, bound: Array) -> Array:
        """Return bounds on log p(x), (n,), with −∞ where a row is so far out that its numbers overflow: NaN is no bound."""
        xp = array_module(bound)
        return xp.where(xp.isnan(bound), -xp.inf, bound)

    def _over(self, function: Scored, rows: Rows, seed: int | None, like: Any) -> Array:
        self._require_finite()
        seed = self.seed_ if seed is None else check_int("seed", seed, 0)
        with no_grad():
            parts = [function(*chunk) for chunk in rows.evaluation(seed)]
        return to_device(array_module(like), self.xp_.concatenate(parts))

    def _next_call(self, seed: int | None) -> tuple[int, ...]:
        """Return where in the stream of samples a call without a seed begins: nothing for the first, then 1, 2, …"""
        if seed is not None:
            return ()
        calls = getattr(self, "_calls", 0)
        self._calls = calls + 1
        return (calls,) if calls else ()

    def _generator(self, stream: str, seed: int | None, *path: int) -> Any:
        """Return the generator for a purpose, from the model's seed or the caller's: the same call gives the same numbers."""
        self._require_fit()
        seed = self.seed_ if seed is None else check_int("seed", seed, 0)
        return noise_source(self.noise, self.xp_, seed, stream, *path)


def _one(x: Any) -> Array:
    """Return one example, which may have the shape of an image, as a row (1, d)."""
    return as_array(x, "x").reshape(1, -1)
