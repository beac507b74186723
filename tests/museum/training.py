"""Groups 9 to 11: optimisers, penalties, and what an evaluation evaluates."""

from __future__ import annotations

from museum.bug import Bug

BUGS = (
    Bug(
        "Adam without bias correction",
        "optim.py",
        (
            ("math.sqrt((1 - beta2) / (1 - beta2**self.steps))", "math.sqrt(1 - beta2)"),
            ("(1 - beta1) / (1 - beta1**self.steps) / to_unbiased_root", "(1 - beta1) / to_unbiased_root"),
        ),
        group=9,
        seen="optimisers written by hand",
        effect="The first steps are three times too long; after some thousands nothing can be seen of it.",
        blind="An optimiser has no gradient of its own, and this one finds the minimum too.",
        passes_gradcheck=True,
    ),
    Bug(
        "Adam's ε inside the root",
        "optim.py",
        (
            ("eps = self.eps / to_unbiased_root", "eps = self.eps / to_unbiased_root**2"),
            (
                "        xp.sqrt(square_sums, out=scratch)\n        scratch += eps\n",
                "        xp.add(square_sums, eps, out=scratch)\n        xp.sqrt(scratch, out=scratch)\n",
            ),
        ),
        group=9,
        seen="optimisers written by hand",
        effect="ε = 1e-8 acts like 1e-4: parameters with small gradients hardly move.",
        blind="An optimiser has no gradient of its own, and where gradients are of ordinary size it makes no difference.",
        passes_gradcheck=True,
    ),
    Bug(
        "Adam's β₁ and β₂ swapped",
        "optim.py",
        (("beta1, beta2, update = self.beta1, self.beta2,", "beta1, beta2, update = self.beta2, self.beta1,"),),
        group=9,
        seen="optimisers written by hand",
        effect="A thousand steps of momentum over ten steps of scale: it oscillates.",
        blind="An optimiser has no gradient of its own, and with small steps this one gets somewhere too.",
        passes_gradcheck=True,
    ),
    Bug(
        "weight decay on the log-variance",
        "models/autoencoder.py",
        (
            (
                'for name, parameter in self.parameters_.parameters.items() if name.endswith(".weight")]',
                "for name, parameter in self.parameters_.parameters.items()]",
            ),
        ),
        group=9,
        seen="optimisers that decay all parameters alike",
        effect="Biases and the learned log-variance are drawn to 0, that is σ² to 1, whatever the data say.",
        blind="It is part of the objective, and its gradient is right.",
        passes_gradcheck=True,
    ),
    Bug(
        "mean activity over the units instead of the batch",
        "ops/penalty.py",
        (
            (
                "    top = x.max(axis=0)\n    return top + xp.log(xp.exp(x - top).sum(axis=0))\n",
                "    top = x.max(axis=1, keepdims=True)\n    return top + xp.log(xp.exp(x - top).sum(axis=1, keepdims=True))\n",
            ),
            ("log_n = math.log(len(logits))", "log_n = math.log(logits.shape[1])"),
        ),
        group=10,
        seen="sparse autoencoders",
        effect="Each example is to use few units, rather than each unit few examples: a dead unit costs nothing.",
        blind="Forward and backward agree with each other.  With as many units as examples not even a shape would differ.",
        passes_gradcheck=True,
    ),
    Bug(
        "contractive penalty with φ' instead of φ'²",
        "models/contractive.py",
        (
            (
                "            rows = rows * slope[:, None, :]\n",
                "            from minivae.ops import log\n\n"
                "            rows = rows * (exp(0.5 * log(slope)) if isinstance(slope, Tensor) else slope)[:, None, :]\n",
            ),
        ),
        group=10,
        seen="contractive autoencoders",
        effect="The penalty is no longer ‖∂h/∂x‖²: it is too weak where units are nearly linear, too strong where they saturate.",
        blind="Its gradient is right, second derivatives and all.",
        passes_gradcheck=True,
    ),
    Bug(
        "an “ELBO” at the posterior mean",
        "models/generative.py",
        (
            (
                "                z = reparameterize(mean, log_var, standard_normal(rng, mean.shape, mean.dtype))  # (R.1)\n",
                "                z = mean\n",
            ),
        ),
        group=11,
        seen="evaluation modes that switch the sampling off",
        effect="The figure is better than any bound: it may exceed log p(x).",
        blind="Nothing is differentiated in an evaluation.",
        passes_gradcheck=True,
    ),
    Bug(
        "the evaluation returns after its first batch",
        "models/whole.py",
        (("in rows.evaluation(model.seed_):", "in list(rows.evaluation(model.seed_))[:1]:"),),
        group=11,
        seen="a return inside the loop",
        effect="Validation losses are those of the first thousand examples.",
        blind="With a test set of one batch everything is right.",
        passes_gradcheck=True,
    ),
)
