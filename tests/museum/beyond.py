"""Group 15: posteriors and priors beyond the Gaussian."""

from __future__ import annotations

from museum.bug import Bug

BUGS = (
    Bug(
        "the log-determinant of a flow with the wrong sign",
        "models/flow.py",
        (("sum_(square(z), axis=-1)) - log_det", "sum_(square(z), axis=-1)) + log_det"),),
        group=15,
        seen="normalising flows in PyTorch",
        effect="A flow that spreads the posterior out is charged for it instead of credited: the “bound” can exceed log p(x).",
        blind="Forward and backward agree with each other.",
        passes_gradcheck=True,
    ),
    Bug(
        "the log-determinant without the absolute value",
        "ops/flow.py",
        (("xp.log1p(xp.maximum(growth, -2 - growth))", "xp.log1p(growth)"),),
        group=15,
        seen="normalising flows in PyTorch",
        effect="NaN as soon as a step turns space over, which a flow without the constraint on u does sooner or later.",
        blind="While uᵀw > −1, as in every example drawn with positive numbers, nothing is different.",
        passes_gradcheck=True,
    ),
    Bug(
        "a flow's constraint left out",
        "models/flow.py",
        (("u_hat = u + (softplus(inner + STILL) - 1 - inner)", "u_hat = u + 0 * (softplus(inner + STILL) - 1 - inner)"),),
        group=15,
        seen="normalising flows in PyTorch",
        effect="Some steps fold space: two z_0 share one z_K, and what F.3 gives is no density of it.",
        blind="Every number is finite and every gradient right.  Only undoing the steps shows it.",
        passes_gradcheck=True,
    ),
    Bug(
        "a VampPrior sampled from the standard normal",
        "models/generative.py",
        (("z = self.draw_prior(n, rng)", "z = standard_normal(rng, (n, self.latent_dim), self.dtype)"),),
        group=15,
        seen="VampPriors in PyTorch, whose sampling code was the plain VAE's",
        effect="Samples come from places where no posterior has ever been: worse pictures, while every bound and loss is right.",
        blind="Training, scores and reconstructions never draw from the prior.  Only the distribution of the samples shows it.",
        passes_gradcheck=True,
    ),
    Bug(
        "the KL of the lower layer against the standard normal",
        "models/two_layers.py",
        (("return ratio - gaussian_nll(z, *_heads(self.decoder, second))", "return ratio - self.standard_nll(z)"),),
        group=15,
        seen="ladder and two-layer VAEs in PyTorch",
        effect="p(z₁|z₂) is never trained, the second layer learns nothing, and samples, which need p(z₁|z₂), are noise.",
        blind="The loss falls as for one layer, and the gradient is that of the loss, to the last bit.",
        passes_gradcheck=True,
    ),
)
