"""Groups 1 and 2: what is sampled."""

from __future__ import annotations

from museum.bug import Bug

BUGS = (
    Bug(
        "standard deviation = exp(log_var)",
        "ops/sampling.py",
        (
            ("    std = xp.exp(0.5 * log_var)\n", "    std = xp.exp(log_var)\n"),
            ("unbroadcast(0.5 * g * scaled_noise, log_var_shape)", "unbroadcast(g * scaled_noise, log_var_shape)"),
        ),
        group=1,
        seen="two NumPy projects from scratch",
        effect="The sampler takes log_var for log σ, the KL takes it for log σ²: the bound belongs to no posterior.",
        blind="The backward is right for this wrong sampler, so no gradient check sees anything.  The moments of the samples do.",
        passes_gradcheck=True,
    ),
    Bug(
        "the same in the importance weights",
        "evaluation/estimators.py",
        (("z = mean + xp.exp(0.5 * log_var) * noise", "z = mean + xp.exp(log_var) * noise"),),
        group=1,
        seen="a variation of the first",
        effect="The z that are decoded are not those whose density is divided by: E[w] is no longer p(x).",
        blind="Nothing is differentiated here.  One formula in three places can be wrong in each of them.",
        passes_gradcheck=True,
    ),
    Bug(
        "the same in the reconstructions",
        "models/generative.py",
        (("temperature * xp.exp(0.5 * log_var) * noise", "temperature * xp.exp(log_var) * noise"),),
        group=1,
        seen="a variation of the first",
        effect="Variations of an input are drawn too close to it where σ < 1, and too far away where σ > 1.",
        blind="No loss contains it.  The pictures look fine.",
        passes_gradcheck=True,
    ),
    Bug(
        "the same noise in every epoch",
        "training/trainer.py",
        (('"noise", epoch)', '"noise", 0)'),),
        group=2,
        seen="NumPy code with a fixed generator",
        effect="Each example has one ε for ever: the decoder can learn it by heart, and the objective is no expectation any more.",
        blind="Gradient checks hold the noise fixed themselves.  The draws of one epoch are distributed as they should be.",
        passes_gradcheck=True,
    ),
    Bug(
        "one noise vector for the whole batch",
        "models/vae.py",
        (
            (
                "standard_normal(rng, (*samples, *mu.shape), mu.dtype))",
                "standard_normal(rng, (*samples, *mu.shape), mu.dtype)[:1])",
            ),
        ),
        group=2,
        seen="NumPy code with a fixed generator",
        effect="All examples of a batch are moved by the same ε: each gradient is unbiased, their average has the variance of one.",
        blind="Given the noise, the gradient is right; and each z for itself has the right distribution.",
        passes_gradcheck=True,
    ),
    Bug(
        "no gradient through σ",
        "ops/sampling.py",
        (("unbroadcast(0.5 * g * scaled_noise, log_var_shape)", "xp.zeros(log_var_shape, dtype=g.dtype)"),),
        group=2,
        seen="backward passes written by hand",
        effect="The reconstruction term never learns that noise costs it; only the KL shapes σ, towards 1.",
        blind="All values are right.  Only a comparison of slopes can see it: this is what gradient checks are for.",
        passes_gradcheck=False,
    ),
)
