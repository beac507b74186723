"""The report of a run: one HTML file that contains everything it shows and needs no network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from minivae.checks import quoted
from minivae.datasets import Dataset
from minivae.datasets.labels import classes_in, has_label
from minivae.evaluation.aggregate import PARTS
from minivae.pages.charts import CLASSES, limits, line_chart, number, picture, scatter
from minivae.pages.markup import Markup, join, page, table, tag
from minivae.pages.trained import Objective, objective_of
from minivae.pictures.curves import NAMES
from minivae.pictures.plots import latent
from minivae.runs.run import Run
from minivae.runs.selection import Code, choose, code_of, labelled, some_classes, spread
from minivae.runs.tables import figure_rows
from minivae.study import guide

MAP_POINTS = 2000
TEMPERATURES = (0.0, 0.5, 1.0, 2.0)
TRAVERSED, STOPS = 10, 9  # dimensions at most, and the values each one takes


def report(run: Run, model: Any, test: Dataset) -> str:
    """Return the page for a run, its model and its test set."""
    name = f"{type(model).__name__} on {test.name}"
    body = (
        _header(run, name),
        _section("Training", _training(model, run.config["figures"].get("entropy_floor"))),
        _section("Reconstructions", _reconstructions(model, test)),
        _section("Samples from the prior", _samples(model, test)),
        _section("Around test examples", _around(model, test)),
        _latent(model, test) if model.continuous else None,
        _section("Objective", _objective(objective_of(model, test))),
        _section("Configuration", _configuration(run, model)),
    )
    return page(f"{name}: {run.path.name}", join(body), ("page.css", "report.css"))


def _latent(model: Any, test: Dataset) -> tuple[Markup, ...]:
    """Return the sections on what lies between the codes of examples."""
    code = code_of(model, test.x, test.y)
    return (
        _section("Latent space", _latent_space(model, test, code)),
        _section("Traversals", _traversals(model, test, code)),
    )


def _section(title: str, content: Iterable[Markup]) -> Markup:
    return tag("section", tag("h2", title), content)


def _note(text: str) -> Markup:
    return tag("p", text, class_="note")


def _place(place: str) -> Markup:
    return tag("code", place, class_="place")


def _header(run: Run, name: str) -> Markup:
    tiles = (
        tag("div", tag("dt", label.strip()), tag("dd", tag("strong", value.replace("-", "−")), tag("span", remark)))
        for label, value, remark in figure_rows(run.config["figures"])
    )
    command = tag("code", " ".join(map(quoted, run.config["command"])), class_="command")
    return tag("header", tag("p", run.path.name, class_="eyebrow"), tag("h1", name), command, tag("dl", tiles, class_="tiles"))


def _training(model: Any, floor: float | None) -> Iterator[Markup]:
    history = model.history_
    terms = [name.removeprefix("train_") for name in history if name.startswith("train_")]
    if "elbo" in terms:
        terms.remove("loss")  # it differs from −ELBO only by the weight of the KL
    charts = []
    for term in terms:
        series = {part: history[f"{part}_{term}"] for part in ("train", "test") if f"{part}_{term}" in history}
        charts.append(line_chart(NAMES.get(term, term), history["epoch"], series, floor if term == "reconstruction" else None))
    for part in (*PARTS, "perplexity"):
        if part in history:
            charts.append(line_chart(NAMES.get(part, part), history["epoch"], {"test": history[part]}))
    charts.append(line_chart("active units", history["epoch"], {"test": history["active_units"]}))
    yield tag("div", charts, class_="charts")
    keys = {"train": "training", "test": "test"} | ({} if floor is None else {"floor": "entropy of grey pixels, the minimum"})
    entries = (tag("span", tag("i", class_=f"key {style}"), text) for style, text in keys.items())
    yield tag("p", entries, tag("span", "nats per example, by epoch"), class_="legend")


# Pictures -------------------------------------------------------------------------------------------------------------------


def _gallery(rows: Any, test: Dataset, what: str) -> Markup:
    cells = (picture(x, test.image_shape, limits(test.x), f"{what} {n}") for n, x in enumerate(rows, 1))
    return tag("div", cells, class_="gallery")


def _strips(labelled: Iterable[tuple[str, Any]], test: Dataset, columns: Iterable[str] = ()) -> Markup:
    """Return rows of pictures, each row with its label."""
    scale, rows = limits(test.x), []
    for label, examples in labelled:
        pictures = (picture(x, test.image_shape, scale, f"{label}, {n}") for n, x in enumerate(examples, 1))
        rows.append(tag("tr", tag("th", label, scope="row"), (tag("td", cell) for cell in pictures)))
    heads = [tag("th", text, scope="col") for text in columns]
    head = tag("thead", tag("tr", tag("td"), heads)) if heads else None
    return tag("div", tag("table", head, tag("tbody", rows)), class_="scroll strips", tabindex="0")


def _reconstructions(model: Any, test: Dataset) -> Iterator[Markup]:
    shown = test.subset(choose(test, 12))
    low, high = limits(test.x)
    scale = f" In all pictures of this page black is {number(low)} and white {number(high)}." if (low, high) != (0.0, 1.0) else ""
    yield _note("Test examples, and the decodings of their posterior means." + scale)
    yield _strips((("input", shown.x), ("output", model.reconstruct(shown.x, y=shown.y))), test)


def _samples(model: Any, test: Dataset) -> Iterator[Markup]:
    y = some_classes(model, 36)
    mean, draw = (model.sample(36, model.seed_, pixels, y) for pixels in ("mean", "draw"))
    left = tag("div", tag("h3", "mean, E[x|z]"), _gallery(mean, test, "mean of sample"))
    right = tag("div", tag("h3", "draw, x ~ p(x|z)"), _gallery(draw, test, "draw of sample"))
    yield _note(f"The same 36 draws of {model.prior_words}, decoded in two ways.")
    yield tag("div", left, right, class_="columns even")


def _around(model: Any, test: Dataset) -> Iterator[Markup]:
    shown = test.subset(choose(test, 10))
    rows = [(f"τ = {tau:g}", model.reconstruct(shown.x, tau, y=shown.y)) for tau in TEMPERATURES]
    mean = "the mean" if model.continuous else "the most probable"
    yield _note(f"Decodings of {model.around_words}, one draw for each column: τ = 0 is {mean}, τ = 1 a posterior sample.")
    yield _strips([("input", shown.x), *rows], test)


def _latent_space(model: Any, test: Dataset, code: Code) -> Iterator[Markup]:
    strongest = float(code.strength.max()) or 1.0
    bars = (
        tag("li", tag("span", latent(j)), tag("i", style=f"width:{100 * value / strongest:.1f}%"), tag("span", f"{value:.2f}"))
        for j, value in ((j, float(code.strength[j])) for j in code.order)
    )
    dimensions = tag("div", tag("h3", f"Dimensions ({code.measure})"), tag("ol", bars, class_="bars"))
    if model.latent_dim == 1:
        yield dimensions
        return
    plane = code.order[:2]
    known = np.arange(len(test)) if labelled(test).y is None else np.flatnonzero(has_label(test.y))
    rows = known[spread(len(known), MAP_POINTS)]
    labels, keys = None, None
    if (y := labelled(test).y) is not None:
        classes = classes_in(y)
        if len(classes) <= CLASSES:
            labels = np.asarray(np.searchsorted(classes, y[spread(len(known), MAP_POINTS)]))
            keys = (tag("span", tag("i", class_=f"key c{n}"), str(label)) for n, label in enumerate(classes))
    chart = scatter(code.mean[rows][:, plane], labels, (latent(plane[0]), latent(plane[1])), code.reach(plane))
    title = tag("h3", "Posterior means of test examples, in the two strongest dimensions")
    circles = tag("span", "circles: 1, 2 and 3 standard deviations of N(0, I)")
    yield tag("div", tag("div", title, chart, tag("p", keys, circles, class_="legend")), dimensions, class_="columns")


def _traversals(model: Any, test: Dataset, code: Code) -> Iterator[Markup]:
    i = int(choose(test, 1)[0])
    y = model.fill_labels(test.x[i : i + 1], None if test.y is None else test.y[i : i + 1])
    y = None if y is None else np.resize(y, STOPS)
    sweep = np.linspace(-code.reach(), code.reach(), STOPS)
    rows = []
    for dim in code.order[:TRAVERSED]:
        z = np.repeat(code.mean[i : i + 1], STOPS, axis=0)
        z[:, dim] = sweep
        rows.append((latent(dim), model.decode(z, y)))
    yield _note(f"Test example {i}, one dimension moved at a time; the strongest first.")
    yield _strips(rows, test, [number(float(z)) for z in sweep])


# Objective and configuration --------------------------------------------------------------------------------------------------


def _objective(objective: Objective) -> Iterator[Markup]:
    known = guide.equations()
    stated = dict(pair for kind in type(objective.model).__mro__ for pair in guide.statements(kind.__doc__ or ""))
    rows: Any = ((tag("b", f"({name})"), tag("code", text), _place(known[name].place)) for name, text in stated.items())
    yield table((), rows, "equations")
    yield _note("Computed by these operations, in this order; each has its backward pass beside its forward pass.")
    rows = (
        (
            tag("code", op.name),
            ", ".join(name for name, _ in guide.statements(op.doc)),
            _place(guide.place_of(op.forward)),
            _place(guide.place_of(op.backward)),
        )
        for op in objective.ops()
    )
    yield table(("operation", "equations", "forward", "backward"), rows)
    yield tag("h3", "Gradient check of this objective")
    if surrogates := objective.surrogates():
        names = ", ".join(surrogates)
        yield _note(f"Not possible: the backward pass of {names} is on purpose not the derivative of its forward pass.")
    else:
        yield from _gradient_check(objective)


def _gradient_check(objective: Objective) -> Iterator[Markup]:
    checked = objective.check()
    passed = sum(row.verdict == "pass" for row in checked)
    yield _note(
        f"{passed} of {len(checked)} parameters pass: the gradient of the trained model's own loss, on {len(objective.batch)} "
        "test examples, in float64 and with its noise held fixed, against finite differences along random directions."
    )
    rows = (
        (tag("code", row.argument), f"{row.relative_error:.1e}", tag("span", row.verdict, class_=row.verdict), row.detail)
        for row in checked
    )
    header = ("parameter", "relative error", "verdict", "finite difference and backward, where they differ most")
    yield table(header, rows, "numbers")


def _configuration(run: Run, model: Any) -> Iterator[Markup]:
    default = type(model)().get_params()
    settings = {
        name: tag("b", _text(value)) if value != default[name] else _text(value) for name, value in model.get_params().items()
    }
    yield _note("Settings in bold differ from the defaults.")
    yield _pairs(settings)
    data = run.config["data"]
    yield _pairs({"data": data["name"], "training examples": str(data["n_train"]), "test examples": str(data["n_test"])})
    yield _pairs(run.config["versions"])


def _pairs(facts: dict[str, str]) -> Markup:
    return tag("dl", (tag("div", tag("dt", name), tag("dd", value)) for name, value in facts.items()), class_="pairs")


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
