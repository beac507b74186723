"""From terms to one number: the only place where terms are weighted against each other and averaged over the batch.

Every term is one value per example, in nats, summed over its features.  So β here is the β of the papers (M.5), without a hidden
factor for the number of pixels, latents or examples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from minivae.autodiff import Tensor
from minivae.backend import array_module
from minivae.ops import absolute, logsumexp, mean, relu, square, sum_


def negative_elbo(reconstruction: Tensor, kl: Tensor, beta: float = 1.0) -> Tensor:
    """Return the loss of a (β-)VAE, averaged over the batch.

    (M.3)  ELBO(x) = E_q[log p(x|z)] − KL(q(z|x) ‖ p(z)) ≤ log p(x)
    (M.4)  loss = −ELBO = reconstruction + KL
    (M.5)  loss_β = reconstruction + β KL

    Why a bound: by M.2, log p(x) = ELBO(x) + KL(q(z|x) ‖ p(z|x)), and that last divergence is never negative, although it
    cannot be computed.  Raising the ELBO raises a lower bound on log p(x), and draws q towards the true posterior.

    Parameters
    ----------
    reconstruction, kl : (n,) tensors, −log p(x|z) and KL(q ‖ p), in nats per example.
    beta : weight of the KL term; 1 gives the bound, anything else gives another objective.
    """
    return mean(reconstruction + (kl if beta == 1 else beta * kl))  # (M.4), (M.5)


def warm_up(epochs_done: float, warm_up_epochs: int) -> float:
    """Return the share of β that is applied, rising linearly from 0 to 1 over the first ``warm_up_epochs`` (Sønderby et al. 2016).

    Early on the decoder ignores z, so the cheapest way to lower the loss is KL = 0; starting with reconstruction alone avoids this
    trap.
    """
    return min(1.0, epochs_done / warm_up_epochs) if warm_up_epochs else 1.0


def capacity_loss(reconstruction: Tensor, kl: Tensor, beta: float, capacity: float) -> Tensor:
    """Return reconstruction + β |KL − C|, averaged over the batch before the absolute value (Burgess et al. 2018).

    M.5 lowers the KL towards 0; this objective holds it at ``capacity`` C nats, from either side.  Only the average is held: one
    example may use more, another less.
    """
    return mean(reconstruction) + beta * absolute(mean(kl) - capacity)


def free_bits_kl(kl_per_dimension: Tensor, free_bits: float) -> Tensor:
    """Return Σ_j max(λ, mean_i KL_ij) of (n, k) divergences, a number for the batch (Kingma et al. 2016).

    Below λ nats a dimension costs the same whatever its KL, so nothing is gained by switching it off.
    """
    return sum_(relu(mean(kl_per_dimension, axis=0) - free_bits) + free_bits)


def importance_weighted_bound(log_weights: Tensor) -> Tensor:
    """Return log (1/s) Σ_i w_i from log w (s, n): (n,), a bound on log p(x), tighter the more samples (M.6)."""
    return logsumexp(log_weights, axis=0) - math.log(log_weights.shape[0])  # (M.6)


def score_function(values: Tensor, log_q: Tensor, baseline: bool = True) -> Tensor:
    """Return ``values`` f(z) (s, n), with a gradient that also counts how they change when q does, from log q(z) (s, n) at z ~ q.

    (Q.4)  ∇E_q[f] = E_q[ (f − b) ∇log q + ∇f ]

    Why: ∇Σ_z q(z) f(z) = Σ_z f ∇q + Σ_z q ∇f, and ∇q = q ∇log q.  Since Σ_z q = 1, E_q[∇log q] = ∇1 = 0, so any number b that does
    not depend on z may be subtracted from f: this changes the variance, and not the mean.  Here b is the mean of f over the other
    samples of the same example, with ``baseline`` and from two samples on, and else 0.
    No derivative by z is taken, so this works for any z, discrete ones too.  The price is variance: what is multiplied by the noise
    ∇log q is all of f, and not only its slope.
    In code: log q minus its own value is 0 and has the slope of log q.  The weight f − b has to be a constant; with its gradient,
    that of the product would be another one.
    Source: Williams 1992; Mnih & Rezende 2016 for this baseline.
    """
    weight, s = values.data, len(values.data)
    if baseline and s > 1:
        weight = (weight - weight.mean(axis=0)) * (s / (s - 1))  # f − the mean of the others
    return values + weight * (log_q - log_q.data)  # (Q.4)


def total_correlation_loss(terms: Mapping[str, Tensor], alpha: float, beta: float, gamma: float) -> Tensor:
    """Return the loss of the β-TC-VAE, averaged over the batch.

    (T.6)  loss = reconstruction + α I + β TC + γ DW = reconstruction + α KL + (β − α) TC + (γ − α) DW

    Why: by T.1 the mutual information is I = KL − TC − DW, DW being the dimension-wise KL.  The KL is known exactly by K.1, so
    the error of estimating q(z) from a batch only enters through the differences of the weights: for α = β = γ the loss is M.5.
    """
    total_correlation, dimension_wise = terms["batch_total_correlation"], terms["batch_dimension_wise_kl"]
    weighted = alpha * terms["kl"] + (beta - alpha) * total_correlation + (gamma - alpha) * dimension_wise
    return mean(terms["reconstruction"] + weighted)  # (T.6)


def covariance_penalty(covariance: Tensor, off_diagonal: float, diagonal: float) -> Tensor:
    """Return how far a covariance (k, k) is from the prior's, the identity: a number.

    (D.3)  λ_od Σ_{a≠b} C_ab² + λ_d Σ_a (C_aa − 1)²
    """
    eye = array_module(covariance.data).eye(len(covariance.data), dtype=covariance.dtype)
    return sum_((off_diagonal * (1 - eye) + diagonal * eye) * square(covariance - eye))  # (D.3)


def semi_supervised_loss(terms: Mapping[str, Tensor], beta: float, classification_weight: float) -> Tensor:
    """Return reconstruction + β KL(z) + KL(y), averaged over the batch, + α · classification (G.8, model M2)."""
    bound = negative_elbo(terms["reconstruction"] + terms["label_kl"], terms["kl"], beta)
    return bound + classification_weight * mean(terms["classification"])


def penalized(terms: Mapping[str, Tensor], strengths: Mapping[str, float]) -> Tensor:
    """Return reconstruction + Σ_p λ_p · penalty_p, averaged over the batch: the loss of the autoencoder family (A.1 to A.5).

    ``terms`` holds "reconstruction" and every penalty that ``strengths`` names, (n,) or a number for the batch, ().
    """
    loss = mean(terms["reconstruction"])  # (A.1)
    for name, strength in strengths.items():
        loss = loss + strength * mean(terms[name])
    return loss


def l1_norm(tensors: Iterable[Tensor]) -> Tensor:
    """Return Σ |w| over all entries of all tensors (A.3)."""
    return _total(sum_(absolute(tensor)) for tensor in tensors)


def l2_norm_squared(tensors: Iterable[Tensor]) -> Tensor:
    """Return Σ w² over all entries of all tensors (A.3)."""
    return _total(sum_(square(tensor)) for tensor in tensors)


def _total(parts: Iterable[Tensor]) -> Tensor:
    first, *others = parts
    for part in others:
        first = first + part
    return first
