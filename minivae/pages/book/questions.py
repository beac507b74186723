"""Pages by question: each has an answer, and an experiment that was repeated while the book was made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from minivae.pages.book.equation import linked
from minivae.pages.book.frame import Page
from minivae.pages.book.measured import measured
from minivae.pages.charts import number
from minivae.pages.markup import Markup, join, table, tag
from minivae.runs.run import experiments as repeated
from minivae.study import experiments

CHAPTER = "Questions"
MODEL = """Measured while this page was made: a VAE of 6 latents and 64 hidden units, 30 epochs on the embedded digits, 8 × 8 grey
pixels; figures of the test set, in nats per example."""
COLUMNS = ("reconstruction", "KL", "ELBO", "active units")


def question_pages() -> list[Page]:
    """Return the pages, one for each question."""
    return [
        _page("reductions", "Sum or mean?", _reductions(), "reduction mean sum loss weight kl beta mse_loss binary_cross_entropy"),
        _page("nats", "What nats should I get?", _nats(), "ELBO MNIST published benchmark log likelihood good value"),
        _page("collapse", "Is my posterior collapsed?", _collapse(), "posterior collapse KL vanishing zero active units"),
        _page("gap", "Why is my ELBO worse than log p(x), and by how much?", _gap(), "bound tight importance weighted IWAE gap"),
        _page("devices", "Why do CPU and GPU differ?", _devices(), "float32 TF32 nondeterminism seed noise reproducible cuda"),
        _page("gpu", "What makes a GPU fast?", _gpu(), "GPU CUDA kernel launch graph replay H200 speed cuda CuPy JAX benchmark"),
        _page("negative", "Can the KL estimate be negative? The total correlation?", _negative(), "negative KL total correlation"),
    ]


def _page(name: str, title: str, content: Iterable[Markup], words: str) -> Page:
    return Page(f"question-{name}", CHAPTER, title, join(content), words=words)


def _text(text: str) -> Markup:
    return tag("p", linked(" ".join(text.split())))


def _row(it: experiments.Trained) -> tuple[str, ...]:
    return number(it.reconstruction), number(it.kl), number(it.elbo), f"{it.active} of {experiments.LATENTS}"


def _reductions() -> Iterator[Markup]:
    yield _text(
        """Sum over pixels and over latents; average over the batch, once, and both terms alike. Only then is the loss minus a
        bound on log p(x) (M.3, M.4). A mean over pixels, or over latents, or a sum of one term over the batch, multiplies one
        of the two terms by a number, which is β in disguise (M.5)."""
    )
    yield _text(
        """Below, one model under six reductions. A factor before the whole loss changes next to nothing under Adam, so
        each is trained with the β that it amounts to, with 64 pixels, 6 latents and batches of 100. On MNIST, with 784 pixels,
        the second row would be β = 784."""
    )
    yield tag("p", MODEL, class_="note")
    rows = ((r.reconstruction, r.kl, number(r.beta), *_row(experiments.trained(r.beta))) for r in experiments.reductions())
    yield table(("reconstruction", "KL", "is β =", *COLUMNS), rows)
    yield _text(
        """Where β is large the code collapses: no unit is active and the decoder draws the same blur for everything. Where β is
        small the reconstructions are the best of all, and the ELBO the worst: the codes are where the prior never samples."""
    )


def _nats() -> Iterator[Markup]:
    yield _text(
        """It depends on the data, on how grey pixels are treated, and on the estimator; a figure without these three means
        little. These are published experiments, repeated with this package from their papers or code: the last stage that
        each run reached, minus log p(x) (NLL; M.6 with so many samples) or minus the ELBO (test loss) in nats per test image of
        MNIST, beside the published figure. A verdict goes by a tolerance that was fixed before the run; there is none on a
        figure before the last stage. The published active units, and the figures of the static cards, are quoted from memory."""
    )
    if found := measured("papers_summary").rows:
        rows = (
            (
                *(row["card"], row["seed"], row["pixels"], row["published"], f"{row['figure']} ± {row['± s.e.']}", row["verdict"]),
                *(row["active"], row["samples"], f"{row['epochs']} of {row['of epochs']}", row["core hours"]),
                _processors(row["machine"]),
            )
            for row in found
            if row["figure"]
        )
        columns = "experiment, seed, pixels, published, nats, verdict, active units, samples, epochs, core hours, processor"
        yield table(columns.split(", "), rows)
        if waiting := [(row["card"], row["pixels"], row["published"], row["of epochs"]) for row in found if not row["figure"]]:
            yield tag("h3", "Not begun")
            yield table(("experiment", "pixels", "published", "epochs"), waiting)
        repeat, measure = "python -m benchmarks papers", f"minivae evaluate {(repeated() or ['CARD'])[0]}"
        parts = ("From ", tag("code", "benchmarks/results/papers_summary.csv"), "; repeat it: ", tag("code", repeat))
        yield tag("p", *parts, "; measure one of them again from its weights: ", tag("code", measure))
    else:
        yield tag("p", "The table is in the folder benchmarks, which is not installed here.", class_="note")
    it = experiments.trained(1.0)
    yield _text(
        f"""On the embedded digits, where training takes a second, the small model of these pages has an ELBO of
        {number(it.elbo)}: reconstruction {number(it.reconstruction)}, KL {number(it.kl)}."""
    )


def _processors(machines: str) -> str:
    """Return the processors of the machines that a run has been on, each written as date; processor; and so on."""
    return " / ".join(dict.fromkeys(machine.split("; ")[1] for machine in machines.split(" / ")))


def _collapse() -> Iterator[Markup]:
    yield _text(
        """Look at the KL of each latent dimension, not at the sum, and at the posterior means. A dimension is collapsed when
        q(z_j|x) is the prior for every x: its KL is near 0 (K.1, K.4), and its mean does not move with x. A unit is called
        active when the variance of its mean over the data is above 0.01. A few idle units are no harm; if none is active the
        decoder ignores z."""
    )
    yield tag("p", MODEL, class_="note")
    several = [experiments.trained(beta) for beta in (0.3, 1.0, 2.0, 4.0)]
    header = ("β", *(f"{n}." for n in range(1, experiments.LATENTS + 1)), "KL in all", "active units")
    rows = ((number(it.beta), *(f"{kl:.3f}" for kl in it.kl_per_dimension), number(it.kl), str(it.active)) for it in several)
    yield tag("h3", "KL by dimension, the largest first")
    yield table(header, rows)
    yield _text(
        """What helps: check the reductions first (“Sum or mean?”), then lower β, raise it slowly (warm_up_epochs),
        give each dimension some nats free (free_bits), or weaken the decoder. Of your own run: minivae evaluate RUN prints
        the active units, minivae report RUN draws the KL of every dimension."""
    )


def _gap() -> Iterator[Markup]:
    yield _text(
        """By M.2 the ELBO is below log p(x) by KL(q(z|x) ‖ p(z|x)): by how far the encoder's Gaussian is from the true
        posterior. More samples close the gap: the mean of k importance weights has a logarithm that rises to log p(x) with k
        (M.6). So the difference between k = 1 and a large k is what the encoder's family and its training cost."""
    )
    yield tag("p", MODEL, class_="note")
    found = experiments.bounds()
    rows = ((str(k), f"{value:.3f} ± {error:.3f}", f"{found[-1][1] - value:.3f}") for k, value, error in found)
    yield table(("samples k", "bound on log p(x)", "below the last"), rows)
    yield _text(
        """The ± is the standard error over 100 test examples, which all rows share. Where the last rows still rise, log p(x) is
        higher still; M.7 and M.8 enclose it from both sides."""
    )


def _devices() -> Iterator[Markup]:
    yield _text(
        """Three reasons. The noise: NumPy's and CuPy's generators are different chains, so the same seed draws other numbers;
        noise looked up by position (N.1, N.2, N.3) is the same on every device. The order of sums: floating-point addition is
        not associative, and a thousand threads add up in another order than one. And TF32: tensor cores read the factors of a
        product with ten bits behind the point unless they are told not to."""
    )
    yield tag("p", "Measured while this page was made: the sum of the same 100 000 float32 numbers, in six ways.", class_="note")
    rows = ((it.how, f"{it.value:.6f}", f"{it.error:.1e}") for it in experiments.sums())
    yield table(("added up", "sum", "relative error"), rows)
    yield _text(
        """Each is within its rights: float32 resolves 6e-8. So two devices agree to some digits and no more, and a comparison
        needs a tolerance made from the number of roundings. minivae gradcheck --device cuda counts the error in such units."""
    )


def _gpu() -> Iterator[Markup]:
    yield _text(
        """Few launches. In plain CuPy, a step of a small VAE is some three hundred operations on arrays of at most a few hundred
        thousand numbers, and a GPU finishes each before the host has prepared the next. So the same arithmetic is packed into
        fewer and fewer launches."""
    )
    steps = (
        ("plain CuPy", "Every operation on an array is a kernel of its own: the code that NumPy runs, on another array."),
        ("kernels", "One kernel does a whole op, such as the likelihood with its slope (L.1), in one pass over memory."),
        ("replayed", "The launches of a step are recorded once, as a CUDA graph, and the host starts the whole graph."),
        ("fewer launches", "A kernel computes a layer with its bias and activation, another all of the layer's gradients."),
        ("one launch", "One kernel makes fifty steps; its blocks wait for each other after every phase of a step."),
    )
    yield tag("ul", [tag("li", tag("b", name), ": ", linked(what)) for name, what in steps])
    ladder = measured("gpu_ladder")
    if not ladder.rows:
        yield tag("p", "What each gains is in the folder benchmarks, which is not installed here.", class_="note")
        return
    columns = ("form", "launches a step", "µs a step", "times the one before", "times the best peer")
    yield _text("One step, with Adam, of a VAE with 784 pixels, 400 hidden units and 20 latents, in batches of 128:")
    yield table(columns, (tuple(row[column] for column in columns) for row in ladder.rows if row["work"] == "A"))
    yield tag("p", "; ".join(ladder.header), class_="note")
    yield tag("p", "Repeat it: ", tag("code", "python -m benchmarks gpu"))


def _negative() -> Iterator[Markup]:
    yield _text(
        """The divergence never is (K.4). An estimate of it may be: one draw of log q(z|x) − log p(z) is below 0 wherever the
        prior happens to be denser than the posterior, and only its average is the KL. The closed form K.1 has no such noise."""
    )
    yield _text(
        """The total correlation (T.1) is a divergence too. Estimated from a batch (T.3, T.4) it is a difference of logarithms of
        estimates, biased and noisy, and it may be negative; T.3 is off by log N several times over."""
    )
    yield tag("p", MODEL, class_="note")
    rows = ((s.name, number(s.truth), number(s.mean), number(s.least), f"{s.negative:.0%}") for s in experiments.signs())
    yield table(("estimate", "true value", "its mean", "least draw", "draws below 0"), rows)
