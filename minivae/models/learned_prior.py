"""A VAE whose prior is learned along with it: a mixture of Gaussians, or the VampPrior (Tomczak & Welling 2018)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minivae.checks import check_choice, check_int
from minivae.models.priors import LearnedMixture, Prior, VampPrior
from minivae.models.vae import VAE
from minivae.nn import Parameter

PRIORS = ("vamp", "mixture")
APART = 0.3  # standard deviation of a mixture's first means; its components are narrower than N(0, I), the whole is as wide


@dataclass(kw_only=True, eq=False)
class LearnedPriorVAE(VAE):
    """A VAE with a prior that learns where the codes are, in place of N(0, I).

    p(z) = (1/m) Σ_c N(z; μ_c, σ²_c)        "mixture", all μ_c and log σ²_c being parameters (P.2)
    p(z) = (1/m) Σ_c q(z|u_c)               "vamp", the posteriors of pseudo-inputs u_c, which are parameters (P.3)

    With N(0, I) the codes of all examples have to overlap around the origin, and no mixture of them fills it evenly: where it is
    thin, samples are poor, and the mismatch costs nats of the bound (T.1).  A mixture may leave gaps.  Everything that N(0, I) did,
    the prior of the model does: the KL, which is now estimated at samples (P.1), ``sample``, and the weights of ``log_likelihood``.

    Parameters
    ----------
    prior : "vamp" or "mixture".
    n_components : number m of components; time grows with m · ``latent_dim`` for each example.

    All other parameters are those of ``VAE``, except ``free_bits``, which needs a KL for each dimension.

    Attributes
    ----------
    prior_ : the prior, see ``minivae.models.priors``.

    All others are those of ``VAE``; ``kl_per_dimension`` is measured from N(0, 1), as if that were the prior.
    """

    by_samples: ClassVar[str] = "the prior is learned"
    prior_words: ClassVar[str] = "z from the learned prior"

    prior: str = "vamp"
    n_components: int = 100

    def check_settings(self) -> None:
        super().check_settings()
        check_choice("prior", self.prior, PRIORS)
        check_int("n_components", self.n_components, 1)

    def make_prior(self, rng: np.random.Generator) -> Prior:
        m, k = self.n_components, self.latent_dim
        if self.prior == "vamp":
            inputs = Parameter(np.broadcast_to(0.0, (m, self.n_features_in_)), "prior.pseudo_inputs")  # until ``start``
            return VampPrior(inputs, self.posterior, k, self.xp_, self.dtype)
        means = Parameter(rng.normal(0, APART, (m, k)), "prior.means")
        log_vars = Parameter(np.broadcast_to(math.log1p(-(APART**2)), (m, k)), "prior.log_vars")  # no memory is taken yet
        return LearnedMixture(means, log_vars, self.xp_, self.dtype)
