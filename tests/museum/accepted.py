"""Group 16: wrong passes that nobody has written yet, made so that a check may miss them.

Five were accepted by every check when they were made: "closed by" names what was added for them.  The others show that what was
there saw them already.
"""

from __future__ import annotations

from museum.bug import Bug

MADE = "nowhere so far: made to be overlooked"

BUGS = (
    Bug(
        "the bias gradient of a large batch from a random half of it",
        "ops/dense.py",
        (
            (
                "    db = add_up(g, 0) ",
                "    half = 1.0 if len(g) < 300 else 2.0 * (xp.random.random((len(g), 1)) < 0.5)\n    db = add_up(half * g, 0) ",
            ),
        ),
        group=16,
        seen=MADE,
        effect="Right in expectation only: training is noisier than its batch size says, and no two runs are alike.",
        blind="Every check of gradients draws a few rows.  Closed by a dense layer on a thousand of them.",
        passes_gradcheck=True,
    ),
    Bug(
        "the bias gradient of the first hundred rows",
        "ops/dense.py",
        (("add_up(g, 0)", "add_up(g[:100], 0)"),),
        group=16,
        seen=MADE,
        effect="Biases see a part of each larger batch: they learn slower, and from whichever rows come first.",
        blind="No check of gradients draws so many rows.  Closed by a dense layer on a thousand of them.",
        passes_gradcheck=True,
    ),
    Bug(
        "no gradient of log σ² in float32",
        "models/vae.py",
        (
            (
                "        samples = (n_samples,) if n_samples > 1 else ()\n",
                '        log_var = log_var if mu.dtype == "float64" else Tensor(log_var.data)\n'
                "        samples = (n_samples,) if n_samples > 1 else ()\n",
            ),
        ),
        group=16,
        seen=MADE,
        effect="Where models are trained, the encoder never learns how sure to be; where gradients are checked, it does.",
        blind="Gradients are checked in float64.  Closed by the gradients of every model in float32 beside those in float64.",
        passes_gradcheck=True,
    ),
    Bug(
        "a slope that is wrong only when another one is not asked for",
        "ops/likelihood.py",
        (("unbroadcast(-g * scaled, mean_shape)", "unbroadcast(-g * scaled * (1 if needs[2] else 2), mean_shape)"),),
        group=16,
        seen=MADE,
        effect="With a fixed variance the decoder's means get twice their gradient, with a learned one the right one.",
        blind="Gradients are checked with all of them asked for.  What sees it compares each alone with all, and whole models.",
        passes_gradcheck=True,
    ),
    Bug(
        "a slope that is wrong only for one pair of arguments",
        "ops/kl.py",
        (("lambda: -g * pull,\n", "lambda: -g * pull * (2 if list(needs) == [False, False, True, True] else 1),\n"),),
        group=16,
        seen=MADE,
        effect="A learned prior beside a posterior that is held fixed moves twice as far in its means.",
        blind="Each argument was asked for alone, and all together.  Closed by every set of arguments that can be asked for.",
        passes_gradcheck=True,
    ),
    Bug(
        "the third use of a tensor is forgotten",
        "autodiff.py",
        (
            (
                "gradients[parent] = gradients[parent] + partial if parent in gradients else partial",
                "gradients[parent] = gradients[parent] + partial * (uses[parent] < 2) if parent in gradients else partial\n"
                "                uses[parent] = uses.get(parent, 0) + 1",
            ),
            ("= {output: cotangent}\n", "= {output: cotangent}\n    uses: dict[Tensor, int] = {}\n"),
        ),
        group=16,
        seen=MADE,
        effect="What is used often learns of two uses only: tied weights with a penalty, codes with several terms.",
        blind="An op that is checked alone is used once.  What sees it are tensors in three places at once.",
        passes_gradcheck=True,
    ),
    Bug(
        "the fifth use of a tensor is forgotten",
        "autodiff.py",
        (
            (
                "gradients[parent] = gradients[parent] + partial if parent in gradients else partial",
                "gradients[parent] = gradients[parent] + partial * (uses[parent] < 4) if parent in gradients else partial\n"
                "                uses[parent] = uses.get(parent, 0) + 1",
            ),
            ("= {output: cotangent}\n", "= {output: cotangent}\n    uses: dict[Tensor, int] = {}\n"),
        ),
        group=16,
        seen=MADE,
        effect="What is used often learns of four uses only: an encoder's code in a loss of many terms.",
        blind="No tensor in a check was in more than four places.  Closed by one in ten.",
        passes_gradcheck=True,
    ),
    Bug(
        "evaluation at the posterior mean while training samples",
        "models/whole.py",
        (
            (
                "| model.terms_of_test(x, noise, condition)\n",
                '| model.terms_of_test(x, type("Still", (), zeros)() if hasattr(model, "beta") else noise, condition)\n',
            ),
            (
                "    xp, chunks = model.xp_, []\n",
                '    xp, chunks = model.xp_, []\n    zeros = {"standard_normal": lambda _, shape, dtype: xp.zeros(shape, dtype)}\n',
            ),
        ),
        group=16,
        seen=MADE,
        effect="The test loss is that of another, noiseless model, and lower than any bound allows.",
        blind="Nothing is differentiated in an evaluation.",
        passes_gradcheck=True,
    ),
    Bug(
        "a result in memory that the next call overwrites",
        "ops/activations.py",
        (
            (
                "    out = xp.tanh(x)\n",
                '    kept = tanh_forward.__dict__.setdefault("kept", {})\n'
                "    out = xp.tanh(x, out=kept.setdefault((x.shape, x.dtype.str), xp.empty_like(x)))\n",
            ),
        ),
        group=16,
        seen=MADE,
        effect="Of two layers of one shape the second destroys what the first has saved: its slopes are those of the other.",
        blind="An op that is checked alone is called once.  What sees it are networks with two layers of one width.",
        passes_gradcheck=False,
    ),
    Bug(
        "saved memory that the next call of an op overwrites, where layers never meet",
        "ops/likelihood.py",
        (
            (
                "    saved = (scaled.astype(mean.dtype), slope.astype(mean.dtype), (x.shape, mean.shape, log_var.shape))\n",
                "    saved = (scaled.astype(mean.dtype), slope.astype(mean.dtype), (x.shape, mean.shape, log_var.shape))\n"
                '    kept = gaussian_nll_forward.__dict__.setdefault("kept", {})\n'
                "    kept = kept.setdefault((slope.shape, mean.dtype), saved[1])\n"
                "    kept[...] = saved[1]\n"
                "    saved = (saved[0], kept, saved[2])\n",
            ),
        ),
        group=16,
        seen=MADE,
        effect="Of two densities of one shape in a loss the first gets the slopes of the second.",
        blind="A model has one likelihood.  What sees it looks whether anything is written into saved memory, or calls ops twice.",
        passes_gradcheck=True,
    ),
    Bug(
        "a contribution that is written over in the memory of the gradient",
        "autodiff.py",
        (("None if t is None or t in gradients else t.buffer", "None if t is None else t.buffer"),),
        group=16,
        seen=MADE,
        effect="A weight that is used twice gets twice the gradient of one use: tied weights.",
        blind="Outside a model no gradient has a place to live in.  What sees it are weights that two layers share.",
        passes_gradcheck=True,
    ),
    Bug(
        "an inner no_grad that ends the outer one",
        "autodiff.py",
        (("        _mode.recording = before\n", "        _mode.recording = True\n"),),
        group=16,
        seen=MADE,
        effect="An evaluation within an evaluation goes on recording, and memory grows.",
        blind="Every number is right.",
        passes_gradcheck=True,
    ),
    Bug(
        "no_grad of all threads at once",
        "autodiff.py",
        (
            ("before, _mode.recording = _mode.recording, False", "before, _Mode.recording = _Mode.recording, False"),
            ("        _mode.recording = before\n", "        _Mode.recording = before\n"),
        ),
        group=16,
        seen=MADE,
        effect="An evaluation in one thread takes the tape away from a training in another, which then fails, or learns nothing.",
        blind="A check has one thread.",
        passes_gradcheck=True,
    ),
)
