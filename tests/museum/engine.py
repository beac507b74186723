"""Groups 13 and 14: the backward passes and the tape."""

from __future__ import annotations

from museum.bug import Bug

BUGS = (
    Bug(
        "a backward that overwrites what was saved",
        "ops/activations.py",
        (
            (
                "    return (g * ((1 - out) * (1 + out)),)\n",
                "    out *= out\n    return (g * xp.subtract(1, out, out=out),)\n",
            ),
        ),
        group=13,
        seen="engines written by hand",
        effect="The first backward destroys the result of the forward: a second pass, or whoever reads it, gets something else.",
        blind="The first backward is right, and a gradient check makes no second one.",
        passes_gradcheck=True,
    ),
    Bug(
        "a second use overwrites the gradient of the first",
        "autodiff.py",
        (("gradients[parent] + partial if parent in gradients else partial", "partial"),),
        group=13,
        seen="engines written by hand",
        effect="A tensor that is used twice learns of one use only: μ and log σ² of their KL or of the reconstruction.",
        blind="Every op for itself is right: a check of ops alone does not see it, one of the whole objective does.",
        passes_gradcheck=False,
    ),
    Bug(
        "bias gradient without the sum over the batch",
        "ops/dense.py",
        (("db = add_up(g, 0) if", "db = add_up(g, 0) / len(g) if"),),
        group=14,
        seen="backward passes written by hand",
        effect="Biases learn slower by a factor of the batch size.",
        blind="With a batch of one example it is right, and Adam forgives a constant factor.",
        passes_gradcheck=False,
    ),
    Bug(
        "dW transposed",
        "ops/dense.py",
        (("*((g.T, x) if transpose else (x.T, g))", "*((x.T, g) if transpose else (g.T, x))"),),
        group=14,
        seen="backward passes written by hand",
        effect="The gradient of the weights is that of their transpose.",
        blind="Of a square matrix not even the shape is wrong.  In our tests every size is another prime, so everything breaks.",
        passes_gradcheck=False,
    ),
)
