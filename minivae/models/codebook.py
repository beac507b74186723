"""The VQ-VAE: an autoencoder whose code is made of vectors from a learned list (van den Oord, Vinyals & Kavukcuoglu 2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from minivae.autodiff import Tensor
from minivae.backend import Array, array_module
from minivae.checks import check_choice, check_int, check_real, check_repeats, reject
from minivae.evaluation.estimators import ImportanceEstimate, perplexity
from minivae.models.autoencoder import Autoencoder
from minivae.models.objectives import penalized
from minivae.nn import Parameter
from minivae.ops import dense, reshape, square, straight_through, sum_

CODEBOOKS = ("moving_average", "gradient")


class Codebook:
    """K vectors with D numbers each, and how often each has lately been the nearest.

    Attributes
    ----------
    vectors : the parameter e, (K, D).
    counts : the running share N of the codes that each vector was chosen for, (K,): a parameter without a gradient, so that it is
        kept with the others.
    seen : what the last training step has chosen: one-hot rows (m, K), and the vectors (m, D) they were chosen for.
    """

    def __init__(self, rng: Any, n_codes: int, code_dim: int) -> None:
        self.vectors = Parameter(rng.uniform(-1.0, 1.0, (n_codes, code_dim)), "codebook.vectors")
        self.counts = Parameter(getattr(rng, "zeros", np.zeros)(n_codes), "codebook.counts")
        self.seen: tuple[Array, Array] | None = None

    def parameters(self) -> list[Parameter]:
        return [self.vectors, self.counts]

    def nearest(self, xp: Any, z: Array) -> Array:
        """Return, for each row of z (m, D), a one-hot row (m, K): 1 at the nearest vector.

        (Q.5)  k(z) = argmin_k ‖z − e_k‖² = argmin_k ‖e_k‖² − 2 zᵀe_k        ‖z‖² is the same for all k
        """
        e = self.vectors.data
        distance = xp.square(e).sum(axis=1) - 2 * dense(z, e, transpose=True).data
        return (distance.argmin(axis=1)[:, None] == xp.arange(len(e))).astype(z.dtype)  # (Q.5)

    def follow(self, xp: Any, decay: float) -> None:
        """Move each vector towards the mean of those it was chosen for in the last step.

        (Q.7)  N_k ← γ N_k + (1 − γ) n_k,   m_k ← γ m_k + (1 − γ) Σ_{i: k(z_i) = k} z_i / m,   e_k = m_k / N_k

        with n_k the share of the m codes that chose k.  Why: for fixed choices, Σ_i ‖z_i − e_k(i)‖² is least when each e_k is the
        mean of its z_i, which is the step of k-means; here sum and number are averaged over the last steps, some 1/(1 − γ) of them.
        γ = 0 is k-means on the batch.
        Numerics: with e_k = m_k / N_k put in, e_k ← e_k + (1 − γ) (Σ_i z_i / m − n_k e_k) / N_k.  A vector that is no longer chosen
        stays where it is, although its N_k and m_k decay until no digit of them is left, and their ratio would be anything.
        """
        if self.seen is None:
            return
        (chosen, z), self.seen = self.seen, None
        e, counts = self.vectors.data, self.counts.data
        share, total = chosen.mean(axis=0), dense(xp.ascontiguousarray(chosen.T), z).data / len(z)
        counts *= decay
        counts += (1 - decay) * share
        shift = (1 - decay) * (total - share[:, None] * e)
        e += shift / xp.maximum(counts, np.finfo(counts.dtype).tiny)[:, None]  # (Q.7)


@dataclass(kw_only=True, eq=False)
class VQVAE(Autoencoder):
    """Autoencoder whose code is ``latent_dim`` vectors, each the nearest of ``n_codes`` vectors that are learned (A.7).

    (Q.6)  loss = −log p(x | e) + Σ_j ‖sg[z_j] − e_j‖² + c Σ_j ‖z_j − sg[e_j]‖²,   e_j = the vector nearest to z_j,   z = encoder(x)

    sg[·] is a constant for the gradient.  The first term reaches the encoder straight through the choice of a vector, as in A.7,
    and not the codebook.  The second draws the vectors to what they are chosen for.  The third, the commitment, keeps the encoder's
    outputs near the vectors: otherwise they could grow faster than the codebook follows.  In place of the second term
    "moving_average" moves the vectors by Q.7, which does not depend on the optimiser and its learning rate.

    With a uniform prior over the codes, q(z|x) gives one code all its mass, and KL(q ‖ p) is the same for every x.  So

        log p(x) ≥ log p(x | e(x)) − latent_dim log n_codes

    which ``elbo`` and ``log_likelihood`` return, and the history has as ``bound``: more samples do not change it.  ``sample`` draws
    codes from that prior.  It is not learned, so samples look worse than reconstructions; the paper trains a second model for it.

    ``perplexity`` tells how much of the codebook is in use:

    (Q.8)  perplexity = exp(−Σ_k p_k log p_k),   p_k the share of all codes of the data set that are vector k

    It is K if all K vectors are used equally often, 1 if there is only one left, and in general as many as equally used vectors
    with the same entropy.  Far below ``n_codes`` most of the codebook is dead: a higher perplexity is better until reconstructions
    are good enough.  It says nothing about pixels, and has nothing to do with the perplexity of a language model's predictions.

    Parameters
    ----------
    latent_dim : number of codes for each example.
    n_codes : number K of vectors in the codebook.
    code_dim : numbers D in each vector; z has latent_dim · code_dim of them.
    commitment : weight c of the commitment.
    codebook : how the vectors are learned, "moving_average" (Q.7) or "gradient" (Q.6).
    decay : γ of the moving averages.

    All other parameters are those of ``Autoencoder``.

    Attributes
    ----------
    codebook_ : the ``Codebook``.
    history_ : as the ``Autoencoder``'s, with ``commitment``, ``codebook`` (where it has a gradient), ``bound`` and ``perplexity``.
    """

    continuous: ClassVar[bool] = False
    prior_words: ClassVar[str] = "codes drawn uniformly from the codebook"

    n_codes: int = 64
    code_dim: int = 4
    commitment: float = 0.25
    codebook: str = "moving_average"
    decay: float = 0.99

    def check_settings(self) -> None:
        super().check_settings()
        check_int("n_codes", self.n_codes, 1)
        check_int("code_dim", self.code_dim, 1)
        check_real("commitment", self.commitment, 0)
        check_choice("codebook", self.codebook, CODEBOOKS)
        check_real("decay", self.decay, 0, 1)
        if self.decay == 1:
            reject("decay", "a number below 1", self.decay)

    def latent_width(self) -> int:
        return self.latent_dim * self.code_dim

    def code_width(self) -> int:
        return self.latent_width()

    def make_layers(self, rng: np.random.Generator) -> tuple[Any, ...]:
        networks = super().make_layers(rng)
        self.codebook_ = Codebook(rng, self.n_codes, self.code_dim)
        return *networks, self.codebook_

    def couples_examples(self) -> str:
        return "codebook" if self.codebook == "moving_average" else ""

    def code(self, outputs: Tensor) -> Tensor:
        """Return the nearest vectors, (n, latent_width), in place of the encoder's outputs."""
        z = super().code(outputs)
        chosen = self.codebook_.nearest(self.xp_, z.data.reshape(-1, self.code_dim))
        return straight_through(z, value=dense(chosen, self.codebook_.vectors.data).data.reshape(z.shape))  # (Q.5)

    def terms(self, x: Array, rng: Any, condition: Array | None = None) -> dict[str, Tensor]:
        """Return −log p(x|e), the commitment and, where it has a gradient, the codebook's term, each (n,), and the penalties."""
        outputs = self.encoder(x, condition)
        z = super().code(outputs)
        flat = z.data.reshape(-1, self.code_dim)
        chosen = self.codebook_.nearest(self.xp_, flat)
        e = reshape(dense(chosen, self.codebook_.vectors), shape=z.shape)
        code = straight_through(z, value=e.data)
        terms = {
            "reconstruction": self.likelihood_.nll(x, self.decoder(code, condition)),
            "commitment": sum_(square(z - e.data), axis=-1),  # (Q.6)
        }
        if self.codebook == "gradient":
            terms["codebook"] = sum_(square(z.data - e), axis=-1)  # (Q.6)
        elif z.requires_grad:  # in training
            self.codebook_.seen = chosen, flat
        return terms | self.penalties(x, outputs, code)

    def strengths(self) -> dict[str, float]:
        learned = {"codebook": 1.0} if self.codebook == "gradient" else {}
        return super().strengths() | {"commitment": self.commitment} | learned

    def loss(self, terms: dict[str, Tensor], epochs_done: float = math.inf) -> Tensor:
        return penalized(terms, self.strengths())  # (Q.6)

    def end_step(self) -> None:
        self.codebook_.follow(self.xp_, self.decay)

    def summarize(self, terms: dict[str, float]) -> dict[str, float]:
        return terms | {"bound": -(terms["reconstruction"] + self._kl())}

    def _kl(self) -> float:
        return self.latent_dim * math.log(self.n_codes)

    def code_statistics(self, mean: Array, log_var: Array) -> dict[str, Any]:
        used = self.codebook_.nearest(self.xp_, mean.reshape(-1, self.code_dim)).mean(axis=0, dtype="float64")
        return super().code_statistics(mean, log_var) | {"perplexity": float(perplexity(used))}  # (Q.8)

    def draw_prior(self, n: int, rng: Any) -> Array:
        """Return z (n, latent_width) of vectors that are all equally probable."""
        place = rng.random((n, self.latent_dim), dtype=self.dtype) * self.n_codes
        return self.codebook_.vectors.data[place.astype("int64")].reshape(n, self.latent_width())

    def score_samples(self, x: Any, y: Any = None) -> Array:
        return super().score_samples(x, y) - self._kl()

    def elbo(self, x: Any, n_samples: int = 1, seed: int | None = None, y: Any = None) -> Array:
        check_repeats("n_samples", n_samples)
        return self.score_samples(x, y)  # (M.3)

    def importance_estimate(self, x: Any, n_samples: int = 100, seed: int | None = None, y: Any = None) -> ImportanceEstimate:
        bound = self.elbo(x, n_samples)
        xp = array_module(bound)
        return ImportanceEstimate(bound, xp.zeros_like(bound), xp.full_like(bound, n_samples), n_samples)
