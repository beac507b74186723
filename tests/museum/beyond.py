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
)
