"""VAEs that pull the codes of a whole batch towards the prior, by a discrepancy (InfoVAE, WAE-MMD) or by covariance (DIP-VAE)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from minivae.autodiff import Tensor
from minivae.backend import Array, standard_normal
from minivae.checks import check_choice, check_real
from minivae.models.objectives import covariance_penalty, negative_elbo
from minivae.models.vae import Variational
from minivae.ops import covariance, exp, mean, mmd
from minivae.ops.matching import KERNELS
from minivae.training.batches import chunks

MOMENTS = ("means", "samples")


@dataclass(kw_only=True, eq=False)
class InfoVAE(Variational):
    """VAE that matches the aggregate posterior q(z), not only each q(z|x), to the prior (Zhao, Song & Ermon 2019).

    (D.1)  loss = reconstruction + w_KL KL + w_MMD MMD²(q(z), p(z))
           w_KL = 1, w_MMD = 0        the bound
           w_KL = 0                   WAE-MMD (Tolstikhin et al. 2018), with a stochastic encoder

    The KL of each posterior from the prior includes the mutual information of x and z (T.1), so lowering it costs information.
    The discrepancy between q(z) and p(z) does not include it.  In the paper's letters w_KL = 1 − α and w_MMD = α + λ − 1.  MMD²
    (D.2) compares the codes of a batch with as many draws of N(0, I); it is unbiased, so it is sometimes negative.

    Parameters
    ----------
    kl_weight : w_KL.  mmd_weight : w_MMD.
    kernel : "inverse_multiquadratic", as in WAE, which still pulls at codes far from the prior, or "gaussian".  Both have the scale
        ``latent_dim``: the mean squared distance of two draws from the prior is 2 · ``latent_dim``.

    All other parameters are those of ``minivae.models.settings.Settings``.

    Attributes
    ----------
    history_ : as the VAE's, and train_ and test_ ``mmd``, MMD² before it is weighted.
    encoder_, decoder_, likelihood_, parameters_ : the network.
    """

    kl_weight: float = 0.1
    mmd_weight: float = 100.0
    kernel: str = "inverse_multiquadratic"

    def check_settings(self) -> None:
        super().check_settings()
        check_real("kl_weight", self.kl_weight, 0)
        check_real("mmd_weight", self.mmd_weight, 0)
        check_choice("kernel", self.kernel, KERNELS)

    def couples_examples(self) -> str:
        return "mmd_weight" if self.mmd_weight else ""

    def terms(self, x: Array, rng: Any, condition: Array | None = None) -> dict[str, Tensor]:
        """Return the terms of the bound, each (n,), and MMD², (), averaged over groups of ``batch_size`` rows."""
        terms, (_, _, z) = self.bound_terms(x, rng, condition)
        terms |= {"_z": z, "_prior": Tensor(standard_normal(rng, z.shape, z.dtype))}
        return terms | self.pool(terms)

    def pool(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        z, prior = terms["_z"], terms["_prior"]
        discrepancy: Any = 0.0
        for part in chunks(len(z.data), self.batch_size):
            share = len(prior.data[part]) / len(z.data)
            discrepancy = share * mmd(z[part], prior[part], kernel=self.kernel, scale=self.latent_dim) + discrepancy  # (D.2)
        return {"mmd": discrepancy}

    def loss(self, terms: dict[str, Tensor], epochs_done: float = math.inf) -> Tensor:
        return negative_elbo(terms["reconstruction"], terms["kl"], self.kl_weight) + self.mmd_weight * terms["mmd"]  # (D.1)


@dataclass(kw_only=True, eq=False)
class DIPVAE(Variational):
    """VAE that pulls the covariance of its codes towards the prior's, the identity (Kumar, Sattigeri & Balakrishnan 2018).

    (D.3)  loss = reconstruction + KL + λ_od Σ_{a≠b} C_ab² + λ_d Σ_a (C_aa − 1)²
           C = Cov[μ(x)]                        of the means: DIP-VAE-I
           C = Cov[μ(x)] + E[σ²(x)]             of q(z): DIP-VAE-II, by the law of total covariance, since q(z|x) is diagonal

    Zero correlation is a weaker condition than zero total correlation (T.1); for a Gaussian q(z) they are the same.  Its advantage
    is that only second moments have to be estimated (D.4).  Squaring an estimate from a batch adds about 1/n to each square.

    Parameters
    ----------
    moments : "means" (I) or "samples" (II).
    off_diagonal, diagonal : λ_od and λ_d.  The paper takes λ_d = 10 λ_od for I and λ_d = λ_od for II.  On 10,000
        digits of MNIST (8 epochs) weights of 0, 1 and 10 leave off-diagonal covariances of 0.13, 0.05 and 0.03; those of 1 cost
        half a nat of the bound, and those of 10 cost 13 nats and make the code slow to start.

    All other parameters are those of ``minivae.models.settings.Settings``.

    Attributes
    ----------
    history_ : as the VAE's, and train_ and test_ ``covariance_penalty``, weighted.
    encoder_, decoder_, likelihood_, parameters_ : the network.
    """

    moments: str = "samples"
    off_diagonal: float = 1.0
    diagonal: float = 1.0

    def check_settings(self) -> None:
        super().check_settings()
        check_choice("moments", self.moments, MOMENTS)
        check_real("off_diagonal", self.off_diagonal, 0)
        check_real("diagonal", self.diagonal, 0)

    def couples_examples(self) -> str:
        return "off_diagonal" if self.off_diagonal else "diagonal" if self.diagonal else ""

    def terms(self, x: Array, rng: Any, condition: Array | None = None) -> dict[str, Tensor]:
        """Return the terms of the bound, each (n,), and the penalty, ()."""
        terms, (mu, log_var, _) = self.bound_terms(x, rng, condition)
        terms |= {"_mean": mu, "_log_var": log_var}
        return terms | self.pool(terms)

    def pool(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        moments = covariance(terms["_mean"])  # (D.4)
        if self.moments == "samples":
            eye = self.xp_.eye(self.latent_dim, dtype=moments.dtype)
            moments = moments + eye * mean(exp(terms["_log_var"]), axis=0)
        return {"covariance_penalty": covariance_penalty(moments, self.off_diagonal, self.diagonal)}  # (D.3)

    def loss(self, terms: dict[str, Tensor], epochs_done: float = math.inf) -> Tensor:
        return negative_elbo(terms["reconstruction"], terms["kl"]) + terms["covariance_penalty"]  # (D.3)
