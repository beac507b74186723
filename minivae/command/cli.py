"""The command line: parse, call, print.

Figures and tables go to standard output, progress and complaints to standard error.  What a user can mend is one line and exit
code 2; a check that found something wrong is 1; an interruption by Ctrl-C is 130, by SIGTERM 143.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minivae import datasets
from minivae.backend import to_numpy
from minivae.checks import MinivaeError, check_int, reject
from minivae.command import lessons
from minivae.command.console import Terminal
from minivae.command.environment import environment
from minivae.command.fitting import gallery, train
from minivae.command.parser import build_parser, completion_script
from minivae.datasets import Dataset
from minivae.evaluation.anomaly import auroc, threshold
from minivae.pages.explore import explorer
from minivae.pages.report import report as report_page
from minivae.pictures import plots
from minivae.proof import verify
from minivae.runs.run import Run
from minivae.runs.scores import entropy_floor, score
from minivae.runs.selection import choose, code_of, some_classes
from minivae.runs.tables import GRADCHECK_HEADER, figure_rows, gradcheck_rows, size_of
from minivae.training.checkpoint import write_whole
from minivae.training.interruption import Interruption, interruptible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    args = build_parser().parse_args(arguments)
    args.arguments = arguments
    try:
        with interruptible(), np.errstate(all="ignore"):  # what overflows is found and named where it matters, by one complaint
            return COMMANDS[args.command](args, Terminal(args.quiet, args.json)) or 0
    except MinivaeError as error:
        if args.debug:
            raise
        print(f"minivae: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        if args.debug:
            raise
        stop = stop if isinstance(stop, Interruption) else Interruption()
        print(f"minivae: {stop.note or 'interrupted'}", file=sys.stderr)
        return 128 + stop.signum


# Commands -----------------------------------------------------------------------------------------------------------------------


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


def transform(args: argparse.Namespace, terminal: Terminal) -> None:
    run, model, test = opened(args, "transform")
    code = code_of(model, test.values, test.y)

    def draw() -> Figure:
        if model.latent_dim < 2:
            reject("RUN", "at least two latent dimensions to draw", model.latent_dim, "write the features to an --out FILE.npy")
        centred = test.x - test.x.mean(axis=0)
        components = np.linalg.svd(centred, full_matrices=False)[2][:2]
        panels = {"two strongest dimensions of μ(x)": code.mean[:, code.order[:2]], "PCA": centred @ components.T}  # (G.6)
        return plots.beside(panels, test.y, f"The {len(test)} test examples as features")

    deliver(args, terminal, run, code.mean, draw)


def anomaly(args: argparse.Namespace, terminal: Terminal) -> None:
    run, model, normal = opened(args, "anomaly_score")
    if args.strange is None and args.strange_class is None:
        reject("--strange", "what is strange: other data, or a class by --strange-class", "neither")
    strange = normal if args.strange is None else datasets.load(args.strange, args.data_dir)[1]
    if args.strange_class is not None:
        if strange.y is None or args.strange_class not in strange.y:
            reject("--strange-class", f"a class of {strange.name}", args.strange_class)
        normal = normal.subset(normal.y != args.strange_class) if args.strange is None else normal
        strange = strange.subset(strange.y == args.strange_class)
    known, unknown = normal.subset(slice(0, None, 2)), normal.subset(slice(1, None, 2))
    scores = [to_numpy(model.anomaly_score(part.values, part.y)) for part in (known, unknown, strange)]  # (G.5)
    line = threshold(scores[0], args.false_positive_rate)
    figures = {
        "auroc": auroc(np.concatenate(scores[1:]), np.repeat([False, True], [len(unknown), len(strange)])),
        "threshold": line,
        "false_alarms": float((scores[1] > line).mean()),
        "caught": float((scores[2] > line).mean()),
    }
    rows = [
        ("AUROC", f"{figures['auroc']:.3f}", f"{len(strange)} strange against {len(unknown)} normal examples"),
        ("threshold", f"{line:.2f}", f"nats; set on {len(known)} other normal examples for a rate of {args.false_positive_rate:g}"),
        ("false alarms", f"{figures['false_alarms']:.1%}", "normal examples above it"),
        ("caught", f"{figures['caught']:.1%}", "strange examples above it"),
    ]
    terminal.table(f"Anomalies by {run.path.name}", rows)
    terminal.result(figures | {"run": str(run.path)})


def report(args: argparse.Namespace, terminal: Terminal) -> None:
    deliver_page(args, terminal, report_page)


def explore(args: argparse.Namespace, terminal: Terminal) -> None:
    deliver_page(args, terminal, explorer)


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
        ("each", size_of(train), f"stored as {train.values.dtype}"),
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
    lessons.explain(args.op, args.trace, terminal)


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


def deliver(args: argparse.Namespace, terminal: Terminal, run: Run, x: Any, draw: Callable[[], Figure]) -> None:
    """Write a command's result, as a picture or as numbers, and say where."""
    out = args.out or run.path / f"{args.command}.png"
    if out.suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, to_numpy(x))
        write_whole(out, buffer.getvalue())
    else:
        plots.save(draw(), out)
    tell_where(terminal, run, out)


def deliver_page(args: argparse.Namespace, terminal: Terminal, make: Callable[[Run, Any, Dataset], str]) -> None:
    """Write a web page of a run, and say where."""
    run, model, test = opened(args)
    out = args.out or run.path / f"{args.command}.html"
    write_whole(out, make(run, model, test).encode())
    tell_where(terminal, run, out)


def tell_where(terminal: Terminal, run: Run, out: Path) -> None:
    terminal.line(str(out))
    terminal.result({"run": str(run.path), "file": str(out)})


COMMANDS: dict[str, Callable[[argparse.Namespace, Terminal], int | None]] = {
    command.__name__: command
    for command in (
        *(train, evaluate, sample, reconstruct, interpolate, traverse, transform, anomaly, report, explore),
        *(gradcheck, explain, data, completion, info),
    )
}
