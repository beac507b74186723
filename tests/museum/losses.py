"""Groups 3, 4, 7 and 8: what is added up."""

from __future__ import annotations

from museum.bug import Bug

BUGS = (
    Bug(
        "KL averaged over the latents",
        "ops/kl.py",
        (
            ("return (0.5 * terms.sum(axis=-1)).astype(mean.dtype)", "return (0.5 * terms.mean(axis=-1)).astype(mean.dtype)"),
            (
                "over_terms(xp, g, mean.shape, log_var.shape)",
                "over_terms(xp, g, mean.shape, log_var.shape) / max((1, *mean.shape[-1:], *log_var.shape[-1:]))",
            ),
        ),
        group=3,
        seen="code that calls a library's mean()",
        effect="β is divided by the number of latents, unseen.  What is printed as ELBO is no bound.",
        blind="Forward and backward agree with each other.",
        passes_gradcheck=True,
    ),
    Bug(
        "reconstruction averaged over the pixels",
        "ops/likelihood.py",
        (
            ("nll.astype(terms.dtype)", "(nll / terms.shape[-1]).astype(terms.dtype)"),
            (
                "over_terms(xp, g, x.shape, logits.shape)",
                "over_terms(xp, g, x.shape, logits.shape) / max((1, *x.shape[-1:], *logits.shape[-1:]))",
            ),
        ),
        group=3,
        seen="code that calls a library's mean()",
        effect="β is multiplied by the number of pixels, 784 on MNIST: the posterior collapses.",
        blind="Forward and backward agree with each other.",
        passes_gradcheck=True,
    ),
    Bug(
        "β divided by the batch size",
        "models/objectives.py",
        (
            (
                "return mean(reconstruction + (kl if beta == 1 else beta * kl))",
                "return mean(reconstruction + beta / reconstruction.shape[0] * kl)",
            ),
        ),
        group=3,
        seen="code that sums one term over the batch and averages the other",
        effect="The batch size is a hidden hyperparameter: the objective changes with it.",
        blind="It is a constant factor, and its gradient is right.",
        passes_gradcheck=True,
    ),
    Bug(
        "β in training, 1 in validation",
        "models/vae.py",
        (
            (
                'terms.get("free_bits_kl", kl), share * self.beta)',
                'terms.get("free_bits_kl", kl), 1.0 if epochs_done == math.inf else share * self.beta)',
            ),
        ),
        group=3,
        seen="training loops with an evaluation of their own",
        effect="Training and validation losses are different quantities; early stopping compares what cannot be compared.",
        blind="At each call the gradient is that of the value.  With β = 1 nothing at all is different.",
        passes_gradcheck=True,
    ),
    Bug(
        "KL with the wrong sign in the log",
        "models/vae.py",
        (('return terms | {"elbo"', 'return terms | {"kl": -terms["kl"], "elbo"'),),
        group=4,
        seen="training loops with an evaluation of their own",
        effect="The history shows a negative divergence; what is trained is right.",
        blind="What is only printed has no gradient.",
        passes_gradcheck=True,
    ),
    Bug(
        "the −1 of the KL dropped",
        "ops/kl.py",
        (("return xp.where(xp.abs(s) < 1e-3, series, xp.expm1(s) - s)", "return xp.exp(s) - s"),),
        group=4,
        seen="formulas copied term by term",
        effect="Every KL is too large by half a nat per latent; the ELBO is too low, and 0 is never reached.",
        blind="A constant has no slope.",
        passes_gradcheck=True,
    ),
    Bug(
        "the ½ of the KL dropped",
        "ops/kl.py",
        (
            ("return (0.5 * terms.sum(axis=-1)).astype(mean.dtype)", "return terms.sum(axis=-1).astype(mean.dtype)"),
            ("unbroadcast(g * mean, mean.shape)", "unbroadcast(2 * g * mean, mean.shape)"),
            ("unbroadcast(0.5 * g * xp.expm1(log_var), log_var.shape)", "unbroadcast(g * xp.expm1(log_var), log_var.shape)"),
        ),
        group=4,
        seen="formulas copied term by term",
        effect="β = 2 under the name of β = 1.",
        blind="Forward and backward agree with each other, and it is not negative, and 0 where q = p.",
        passes_gradcheck=True,
    ),
    Bug(
        "the entropy of q dropped from the KL",
        "ops/kl.py",
        (
            ('_h(xp, log_var.astype("float64"))', 'xp.expm1(log_var.astype("float64"))'),
            ("unbroadcast(0.5 * g * xp.expm1(log_var), log_var.shape)", "unbroadcast(0.5 * g * xp.exp(log_var), log_var.shape)"),
        ),
        group=4,
        seen="formulas copied term by term",
        effect="Nothing holds σ up any more: it falls to 0, and the VAE becomes an autoencoder.",
        blind="Forward and backward agree with each other.",
        passes_gradcheck=True,
    ),
    Bug(
        "probabilities clipped to [1e-15, 0.999]",
        "ops/likelihood.py",
        (
            (
                "    return nll.astype(terms.dtype), (x, logits, u)\n",
                "    p = xp.clip(1 / (1 + xp.exp(-logits)), 1e-15, 0.999)\n"
                "    nll = -(x * xp.log(p) + (1 - x) * xp.log(1 - p)).sum(axis=-1, dtype='float64')\n"
                "    return nll.astype(terms.dtype), (x, logits, u)\n",
            ),
        ),
        group=7,
        seen="NumPy projects from scratch",
        effect="A white pixel costs at least 0.001 nats, and a confident mistake at most 6.9 nats: the worst errors are cut off.",
        blind="Where logits are ordinary, as in every gradient check, nothing is clipped.  It takes a point that is far out.",
        passes_gradcheck=True,
    ),
    Bug(
        "sigmoid applied twice",
        "models/likelihoods.py",
        (
            (
                "        return bernoulli_nll(x, outputs)  # (L.1)\n",
                "        from minivae.ops import sigmoid\n\n        return bernoulli_nll(x, sigmoid(outputs))\n",
            ),
        ),
        group=7,
        seen="decoders that end in a sigmoid, with a loss that has one too",
        effect="Every probability lies between 0.5 and 0.73: black cannot be said.  The loss still falls.",
        blind="It is a differentiable function like any other.",
        passes_gradcheck=True,
    ),
    Bug(
        "logits taken for probabilities",
        "models/likelihoods.py",
        (("< self.mean(xp, outputs)).astype(outputs.dtype)", "< outputs).astype(outputs.dtype)"),),
        group=7,
        seen="decoders that end in logits, with code for pictures that expects probabilities",
        effect="Pixels are drawn with the logit for a probability: everything below ½ is black.",
        blind="No loss contains it.",
        passes_gradcheck=True,
    ),
    Bug(
        "log-variance clamped in the forward alone",
        "ops/sampling.py",
        (("    std = xp.exp(0.5 * log_var)\n", "    std = xp.exp(0.5 * xp.clip(log_var, -10, 10))\n"),),
        group=8,
        seen="guards against overflow, added after the backward was written",
        effect="Beyond the clamp the value no longer moves, and the gradient says that it does: optimisation drifts away there.",
        blind="Within the clamp, where gradient checks draw their points, all is well.",
        passes_gradcheck=True,
    ),
)
