"""The command ``anomaly``: how well a model's score tells what is strange from what is normal (G.5)."""

from __future__ import annotations

import argparse

import numpy as np

from minivae import datasets
from minivae.backend import to_numpy
from minivae.checks import reject
from minivae.command.console import Terminal
from minivae.command.delivery import opened
from minivae.evaluation.anomaly import auroc, threshold


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
