"""From terms to one number: the only place where terms are weighted against each other and averaged over the batch.

Every term is one value per example, in nats, summed over its features.  So β here is the β of the papers (M.5): no factor
of pixels, latents or batch size hides in it.
"""

from __future__ import annotations

from minivae.autodiff import Tensor
from minivae.ops import mean


def negative_elbo(reconstruction: Tensor, kl: Tensor, beta: float = 1.0) -> Tensor:
    """Return the loss of a (β-)VAE, averaged over the batch.

    (M.3)  ELBO(x) = E_q[log p(x|z)] − KL(q(z|x) ‖ p(z)) ≤ log p(x)
    (M.4)  loss = −ELBO = reconstruction + KL
    (M.5)  loss_β = reconstruction + β KL

    Why a bound: by M.2, log p(x) = ELBO(x) + KL(q(z|x) ‖ p(z|x)), and that last divergence, which nobody can compute, is never
    negative.  Raising the ELBO raises a floor under log p(x), and presses q towards the true posterior.

    Parameters
    ----------
    reconstruction, kl : (n,) tensors, −log p(x|z) and KL(q ‖ p), in nats per example.
    beta : weight of the KL term; 1 gives the bound, anything else gives another objective.
    """
    return mean(reconstruction + (kl if beta == 1 else beta * kl))  # (M.4), (M.5)


def warm_up(epochs_done: float, warm_up_epochs: int) -> float:
    """Return the share of β in force: a line from 0 to 1 over the first ``warm_up_epochs`` (Sønderby et al. 2016).

    Early on the decoder ignores z, so the cheapest way to lower the loss is KL = 0; letting reconstruction lead avoids that trap.
    """
    return min(1.0, epochs_done / warm_up_epochs) if warm_up_epochs else 1.0
