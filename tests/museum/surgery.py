"""Group 12, continued: the parts of the KL, as public code has estimated them.

The figures in the labels are of the posteriors of ``support.posteriors.public_threads``, N = 2000 and k = 5, in batches of 65.
By all posteriors mutual information is 5.67 and total correlation 0.36 nats; by such batches, rightly weighted (T.4), they are
6.43 and −0.28.
"""

from __future__ import annotations

from museum.bug import Bug

FILE = "evaluation/aggregate.py"
SEEN = "β-TC-VAE in PyTorch"
BLIND = "Weights are constants: whatever they are, forward and backward agree."
STRATIFIED = "    return xp.where(xp.eye(n, dtype=bool), -math.log(n_data), other)  # (T.4)\n"

BUGS = (
    Bug(
        "the own share in the first column instead of on the diagonal",
        FILE,
        ((STRATIFIED, "    return xp.where(xp.zeros((n, 1)) + xp.arange(n) == 0, -math.log(n_data), other)\n"),),
        group=12,
        seen="four much used implementations of the β-TC-VAE, which share the matrix",
        effect="Mutual information 3.95 instead of 5.67, total correlation 1.85 instead of 0.36.",
        blind=BLIND + "  Each row still adds up to 1.",
        passes_gradcheck=True,
    ),
    Bug(
        "the matrix of densities transposed",
        FILE,
        (
            ("joint = log_mixture(z, mean, log_var, log_weights).data", "joint = log_mixture(mean, z, log_var, log_weights).data"),
            (
                "log_mixture(z[..., None], mean[..., None], log_var[..., None], log_weights).data",
                "log_mixture(mean[..., None], z[..., None], log_var[..., None], log_weights).data",
            ),
        ),
        group=12,
        seen=SEEN,
        effect="A sum over the draws at each posterior, not over the posteriors at each draw: total correlation −0.39.",
        blind="The shapes are right where a batch is compared with itself, and the mutual information, 6.39, looks right.",
        passes_gradcheck=True,
    ),
    Bug(
        "total correlation from a single batch without correction",
        FILE,
        ((STRATIFIED, "    return xp.full((n, n), -math.log(n))\n"),),
        group=12,
        seen="training loops that take the batch for the data set",
        effect="q(z) of 65 examples: mutual information 3.94, close to log 65, and total correlation 1.88.",
        blind=BLIND,
        passes_gradcheck=True,
    ),
    Bug(
        "log N forgotten",
        FILE,
        (("log_weight = xp.full(1, -math.log(size))", "log_weight = xp.full(1, 0.0 * size)"),),
        group=12,
        seen=SEEN,
        effect="Mutual information 5.67 − log 2000 = −1.93, which cannot be; total correlation 0.36 + 4 log 2000 = 30.8.",
        blind=BLIND,
        passes_gradcheck=True,
    ),
    Bug(
        "mutual information by the KL",
        FILE,
        (("return own - log_q, log_q - product, product - prior", "return own - prior, log_q - product, product - prior"),),
        group=12,
        seen="plots of “mutual information” during training",
        effect="6.02 nats instead of 5.67: the total correlation and the distance from the prior are counted as information.",
        blind="The KL is an upper bound of it, and close where the aggregate posterior is the prior.",
        passes_gradcheck=True,
    ),
    Bug(
        "the log weight counted once per dimension",
        FILE,
        (
            (
                "joint = log_mixture(z, mean, log_var, log_weights).data",
                "joint = log_mixture(z, mean, log_var, z.shape[-1] * log_weights).data",
            ),
        ),
        group=12,
        seen=SEEN,
        effect="A weight is added to each latent and summed with them: mutual information 26.5, total correlation −20.3.",
        blind="With one latent it is right.",
        passes_gradcheck=True,
    ),
)
