"""The command ``anomaly``: how well a model's score separates anomalies from normal examples (G.5)."""

from __future__ import annotations

import argparse
import csv
import io
import warnings

import numpy as np

from minivae import datasets
from minivae.backend import to_numpy
from minivae.checks import MinivaeWarning, reject
from minivae.command.console import Terminal
from minivae.command.delivery import opened, tell_where
from minivae.datasets import Dataset
from minivae.evaluation.anomaly import auroc, threshold
from minivae.pictures import plots
from minivae.pictures.strangest import strangest
from minivae.runs.run import Run
from minivae.runs.source import of_class, without
from minivae.training.checkpoint import write_whole

SHOWN = 12  # strangest examples in the picture


def anomaly(args: argparse.Namespace, terminal: Terminal) -> None:
    run, model, _ = opened(args, "anomaly_score")
    normal, strange = parts(args, run)
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
        ("AUROC", f"{figures['auroc']:.3f}", f"{len(strange)} strange against {len(unknown)} normal examples; ½ is blind"),
        ("threshold", f"{line:.2f}", f"nats; set on {len(known)} other normal examples for a rate of {args.false_positive_rate:g}"),
        ("false alarms", f"{figures['false_alarms']:.1%}", "normal examples above it"),
        ("caught", f"{figures['caught']:.1%}", "strange examples above it"),
    ]
    terminal.table(f"Anomalies by {run.path.name}", rows)
    out = args.out or run.place("anomaly.png")
    if out.suffix == ".csv":
        write_whole(out, as_csv({"known": (known, scores[0]), "normal": (unknown, scores[1]), "strange": (strange, scores[2])}))
    else:
        shown = {"normal": (unknown.x, scores[1]), "strange": (strange.x, scores[2])}
        title = f"Anomaly scores by {run.path.name}: AUROC {figures['auroc']:.3f}"
        plots.save(strangest(shown, line, normal.image_shape, title, SHOWN), out)
    tell_where(terminal, run, out, figures)


def parts(args: argparse.Namespace, run: Run) -> tuple[Dataset, Dataset]:
    """Return the normal and the strange test examples that the command line asks for."""
    if args.strange is None and args.strange_class is None:
        reject("--strange", "other data to count as anomalies, or a class with --strange-class", "neither")
    excluded = () if args.data else run.source.exclude_class
    test = run.data(args.data, args.data_dir)[1] if not excluded else run.everything(args.data_dir)[1]
    normal = without(test, excluded)
    strange = test if args.strange is None else datasets.load(args.strange, args.data_dir)[1]
    if args.strange_class is None:
        return normal, strange
    strange = strange.subset(of_class(strange, args.strange_class, "--strange-class"))
    if args.strange is None and args.strange_class not in excluded:
        normal = without(test, (*excluded, args.strange_class))
        warnings.warn(
            f"--strange-class: expected a class that {run.path.name} was not trained on, got {args.strange_class}, which is normal "
            f"to this model; train another with --exclude-class {args.strange_class}",
            MinivaeWarning,
            stacklevel=2,
        )
    return normal, strange


def as_csv(scored: dict[str, tuple[Dataset, np.ndarray]]) -> bytes:
    """Return the scores as CSV, with a row for each example: its part, its class, its score in nats."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("part", "class", "score"))
    for part, (data, scores) in scored.items():
        labels = [""] * len(data) if data.y is None else data.y.tolist()
        writer.writerows((part, label, float(score)) for label, score in zip(labels, scores))
    return text.getvalue().encode()
