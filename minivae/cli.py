"""The command line: parse, call, print.

Figures and tables go to standard output, progress and complaints to standard error.  What a user can mend is one line and exit
code 2; a check that found something wrong is 1; an interruption is 130.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minivae import MODELS, datasets, plots, verify
from minivae.backend import to_numpy
from minivae.checkpoint import write_whole
from minivae.checks import MinivaeError, check_int, reject
from minivae.console import Terminal
from minivae.curves import curves
from minivae.datasets import Dataset
from minivae.environment import environment, versions
from minivae.options import given_settings
from minivae.parser import LEAST_STEPS, build_parser, completion_script
from minivae.runs import CONFIG, HISTORY, MODEL, Draft, Run, as_json, history_csv, source_record
from minivae.scores import entropy_floor, score
from minivae.selection import choose, code_of, some_classes
from minivae.tables import EXPLAIN_HEADER, GRADCHECK_HEADER, explain_rows, figure_rows, gradcheck_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRID = 20  # cells on a side of the decoded latent plane


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    args = build_parser().parse_args(arguments)
    args.arguments = arguments
    try:
        with np.errstate(all="ignore"):  # a number that overflows is found and named where it matters, by one complaint
            return COMMANDS[args.command](args, Terminal(args.quiet, args.json)) or 0
    except MinivaeError as error:
        if args.debug:
            raise
        print(f"minivae: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if args.debug:
            raise
        print("minivae: interrupted", file=sys.stderr)
        return 130


# Commands -----------------------------------------------------------------------------------------------------------------------


def train(args: argparse.Namespace, terminal: Terminal) -> None:
    check_int("--eval-samples", args.eval_samples, 1)
    check_int("--eval-examples", args.eval_examples, 1)
    kind = MODELS[args.model]
    settings = given_settings(args, args.model, MODELS)
    data, test = datasets.load(args.data, args.data_dir)
    if "epochs" not in settings:
        steps_per_epoch = math.ceil(len(data) / max(1, settings.get("batch_size", kind.batch_size)))
        settings["epochs"] = max(kind.epochs, math.ceil(LEAST_STEPS / steps_per_epoch))
    model = kind(**settings)
    with Draft(args.runs_dir, f"{args.model.lower()}-{data.name}", args.name) as draft:
        started = time.perf_counter()
        with terminal.training(f"{args.model} on {describe(data, test)}, {model.epochs} epochs") as hooks:
            model.fit(data.values, data.y, test.values, test.y, **hooks)
        seconds = time.perf_counter() - started
        figures = score(model, test, args.eval_samples, args.eval_examples) | {"seconds": seconds}
        model.save(draft.folder / MODEL)
        config = {
            "model": args.model,
            "settings": model.get_params(),
            "data": source_record(args.data, args.data_dir)
            | {"name": data.name, "n_train": len(data), "n_test": len(test), "image_shape": data.image_shape},
            "command": ["minivae", *args.arguments],
            "versions": versions(),
            "figures": figures,
        }
        write_whole(draft.folder / CONFIG, as_json(config, indent=2).encode())
        write_whole(draft.folder / HISTORY, history_csv(model.history_))
        draw_all(model, test, figures.get("entropy_floor"), draft.folder)
    terminal.table(f"{args.model} on {data.name}, nats per example", figure_rows(figures))
    terminal.line(f"\nrun: {draft.path}")
    terminal.result(figures | {"run": str(draft.path)})


def draw_all(model: Any, test: Dataset, floor: float | None, folder: Path) -> None:
    """Write the pictures of a run."""
    plots.save(curves(model.history_, floor), folder / "curves.png")
    shown = test.subset(choose(test, 12))
    pairs = (shown.x, model.decode(model.transform(shown.x, shown.y), shown.y))
    title, labels = "Test examples and the decodings of their posterior means", ("original", "reconstruction")
    plots.save(plots.cells(pairs, test.image_shape, title, labels), folder / "reconstructions.png")
    generative = "train_elbo" in model.history_  # a plain autoencoder's codes do not follow the prior
    if generative:
        samples = model.sample(64, y=some_classes(test, 64))
        plots.save(gallery(model, test, samples, "Prior samples: E[x|z] for z ~ N(0, I)"), folder / "samples.png")
    if model.latent_dim == 2:
        means = plots.latent_map(model.transform(test.values, test.y), test.y, f"the {len(test)} test examples")
        plots.save(means, folder / "latent_map.png")
    if model.latent_dim == 2 and generative:
        y = None if test.y is None else test.y.min()
        note = f", class {y}" if model._condition_width() else ""
        decoded = model.decode(plots.prior_grid(GRID).astype(model.dtype), y)
        plots.save(plots.manifold(decoded, test.image_shape, note), folder / "manifold.png")


def evaluate(args: argparse.Namespace, terminal: Terminal) -> None:
    run, model, test = opened(args)
    started = time.perf_counter()
    figures = score(model, test, args.n_samples, args.n_examples)
    figures["evaluation_seconds"] = time.perf_counter() - started
    terminal.table(f"{run.path.name} on {test.name}, nats per example", figure_rows(figures))
    terminal.result(figures | {"run": str(run.path)})


def sample(args: argparse.Namespace, terminal: Terminal) -> None:
    run, model, test = opened(args, "sample")
    x = model.sample(check_int("-n", args.n, 1), args.seed, args.pixels, y=some_classes(test, args.n))
    what = "E[x|z]" if args.pixels == "mean" else "a draw of x from p(x|z)"
    deliver(args, terminal, run, x, lambda: gallery(model, test, x, f"Prior samples: {what} for z ~ N(0, I)"))


def reconstruct(args: argparse.Namespace, terminal: Terminal) -> None:
    run, model, test = opened(args, "reconstruct")
    shown = test.subset(choose(test, check_int("-n", args.n, 1)))
    temperatures = (0.0, *args.temperature)
    rows = [shown.x, *(model.reconstruct(shown.x, tau, args.seed, shown.y) for tau in temperatures)]
    labels = ["original", *(f"τ = {tau:g}" for tau in temperatures)]
    title = "Around test examples: decodings of μ + τ σ ε"
    deliver(args, terminal, run, np.stack(rows), lambda: plots.cells(rows, test.image_shape, title, labels))


def interpolate(args: argparse.Namespace, terminal: Terminal) -> None:
    run, model, test = opened(args)
    i = check_int("--from", args.start, 0, len(test) - 1)
    j = args.end
    if j is None:  # by default to the next example, of another class if there are classes
        j = next((k for k in range(len(test)) if k != i and (test.y is None or test.y[k] != test.y[i])), i)
    check_int("--to", j, 0, len(test) - 1)
    a, b = test.subset(np.array([i, j])).x
    path = model.interpolate(a, b, args.n, args.path, None if test.y is None else test.y[i])
    labels = [f"test {i}", *(f"t = {plots.number(t)}" for t in np.linspace(0, 1, args.n)), f"test {j}"]
    title = f"From test example {i} to {j} on a {args.path} path through the latent space"
    deliver(args, terminal, run, path, lambda: plots.cells([[a, *path, b]], test.image_shape, title, (), labels))


def traverse(args: argparse.Namespace, terminal: Terminal) -> None:
    run, model, test = opened(args)
    i = check_int("--example", args.example, 0, len(test) - 1)
    x = test.subset(np.array([i])).x[0]
    code = code_of(model, test.values, test.y)
    strongest = code.order[: check_int("--dims", args.dims, 1)]
    y = None if test.y is None else test.y[i]
    rows = np.stack([model.traverse(x, int(dim), args.n, args.span, y) for dim in strongest])
    labels = [f"{plots.latent(dim)}  ({code.strength[dim]:.2f})" for dim in strongest]
    columns = [plots.number(z) for z in np.linspace(-args.span, args.span, args.n)]
    title = f"Test example {i}, one latent dimension moved at a time ({code.measure})"
    deliver(args, terminal, run, rows, lambda: plots.cells(rows, test.image_shape, title, labels, columns))


def data(args: argparse.Namespace, terminal: Terminal) -> None:
    train, test = datasets.load(args.name, args.data_dir)
    classes = None if train.y is None else len(np.unique(train.y))
    low, high = float(train.values.min()), float(train.values.max())
    record = {
        "name": train.name,
        "n_train": len(train),
        "n_test": len(test),
        "n_features": train.values.shape[1],
        "image_shape": train.image_shape,
        "dtype": str(train.values.dtype),
        "range": [low, high],
        "classes": classes,
        "factors": dict(zip(train.factor_names, train.factor_sizes)),
        "entropy_floor": entropy_floor(test.values),
    }
    rows = [
        ("examples", f"{len(train)} training, {len(test)} test", ""),
        ("each", size(train), f"stored as {train.values.dtype}"),
        ("range", f"{low:g} to {high:g}", "read as value/255" if train.values.dtype == np.uint8 else ""),
        ("classes", str(classes or "none"), ""),
    ]
    if train.factor_names:
        rows += [("factors", ", ".join(f"{name} {n}" for name, n in record["factors"].items()), "and their numbers of classes")]
    if record["entropy_floor"] is not None:
        note = "nats per test example: no Bernoulli reconstruction of grey pixels can be lower"
        rows.append(("entropy floor", f"{record['entropy_floor']:.2f}", note))
    terminal.table(f"Data set {train.name}", rows)
    terminal.result(record)


def info(args: argparse.Namespace, terminal: Terminal) -> None:
    record = environment()
    terminal.table("Environment", ((name.replace("_", " "), str(value)) for name, value in record.items()))
    terminal.result(record)


def gradcheck(args: argparse.Namespace, terminal: Terminal) -> int:
    rows = list(verify.check_ops(args.op, args.device, args.seed))
    if not args.op:
        rows += verify.check_models(args.seed)
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in verify.VERDICTS}
    title = "Gradients: float64 against finite differences, the rest against float64"
    terminal.table(title, gradcheck_rows(rows), GRADCHECK_HEADER)
    for row in rows:
        if row.verdict != "pass":
            terminal.line(f"{row.verdict}: {row.name}, {row.argument}, {row.dtype} on {row.device}: {row.detail}")
    terminal.line(f"\n{len(rows)} gradients: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.items()))
    terminal.result({"gradients": len(rows), **counts, "rows": [dataclasses.asdict(row) for row in rows]})
    return int(counts["pass"] < len(rows))


def explain(args: argparse.Namespace, terminal: Terminal) -> None:
    it = verify.explain(args.op)
    terminal.line(f"{it.name}\n\n{it.derivation}\n\nforward   {it.forward}\nbackward  {it.backward}\ntest      {it.test}")
    if it.options:
        terminal.line("called with " + ", ".join(f"{name}={value}" for name, value in it.options.items()))
    terminal.line(f"result {it.result.round(6).tolist()}\ngradient of the loss with respect to it {it.cotangent.tolist()}")
    terminal.table("Gradient of the loss with respect to each entry", explain_rows(it), EXPLAIN_HEADER)
    record = dataclasses.asdict(it)
    for name in ("result", "cotangent"):
        record[name] = record[name].tolist()
    for name in ("inputs", "gradients", "slopes"):
        record[name] = {argument: array.tolist() for argument, array in record[name].items()}
    terminal.result(record)


def completion(args: argparse.Namespace, terminal: Terminal) -> None:
    print(completion_script())


# What the commands share --------------------------------------------------------------------------------------------------------


def opened(args: argparse.Namespace, ability: str = "decode") -> tuple[Run, Any, Dataset]:
    """Return the run, its model (which must be able to do ``ability``) and its test set."""
    run = Run(args.run, args.runs_dir)
    model = run.model(args.device)
    if not hasattr(model, ability):
        reject("RUN", f"a model that can {ability}", type(model).__name__, "choose another run")
    return run, model, run.data(args.data, args.data_dir)[1]


def gallery(model: Any, test: Dataset, x: Any, title: str) -> Figure:
    """Return the picture of new examples; those of a conditional model have a column for each class."""
    columns = len(np.unique(test.y)) if test.y is not None and model._condition_width() else None
    return plots.gallery(x, test.image_shape, title, columns)


def deliver(args: argparse.Namespace, terminal: Terminal, run: Run, x: Any, draw: Callable[[], Figure]) -> None:
    """Write a command's result, as a picture or as numbers, and say where."""
    out = args.out or run.path / f"{args.command}.png"
    if out.suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, to_numpy(x))
        write_whole(out, buffer.getvalue())
    else:
        plots.save(draw(), out)
    terminal.line(str(out))
    terminal.result({"run": str(run.path), "file": str(out)})


def describe(data: Dataset, test: Dataset) -> str:
    return f"{data.name}: {len(data)} training and {len(test)} test examples of {size(data)}"


def size(data: Dataset) -> str:
    if data.image_shape is None:
        return f"{data.values.shape[1]} features"
    return " × ".join(map(str, data.image_shape)) + " pixels"


COMMANDS: dict[str, Callable[[argparse.Namespace, Terminal], int | None]] = {
    command.__name__: command
    for command in (train, evaluate, sample, reconstruct, interpolate, traverse, gradcheck, explain, data, completion, info)
}
