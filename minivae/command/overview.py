"""The commands ``runs``, which lists the runs, and ``compare``, which sets two or more of them side by side."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minivae.checks import MinivaeError, reject
from minivae.command.console import Terminal
from minivae.pictures import plots
from minivae.pictures.curves import overlaid
from minivae.runs.run import CHECKPOINT, MODEL, Run
from minivae.runs.tables import figure_rows

RUNS_HEADER = ("run", "model", "data", "epochs", "test loss", "log p(x)", "active units")
MOST = 6  # most runs that can be told apart in one picture


def runs(args: argparse.Namespace, terminal: Terminal) -> None:
    folder = Path(args.runs_dir)
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    records = [_summary(path) for path in inside if (path / MODEL).is_file() or (path / CHECKPOINT).is_file()]
    terminal.table(f"Runs in {folder}", [_row(record) for record in records], RUNS_HEADER)
    if not records:
        terminal.line("none yet; minivae train makes one")
    terminal.result({"runs": records})


def _summary(path: Path) -> dict[str, Any]:
    """Return what the list shows of a run; ``problem`` is set if it cannot be read or is not finished."""
    try:
        run = Run(str(path))
        config = run.config
    except MinivaeError as error:
        unfinished = not (path / MODEL).is_file()
        return {"run": path.name, "problem": f"stopped; minivae train --resume {path}" if unfinished else str(error)}
    figures, settings = config["figures"], config["settings"]
    shown = {name: figures.get(name) for name in ("test_loss", "log_likelihood", "active_units", "latent_dim")}
    return {"run": path.name, "model": config["model"], "data": config["data"]["name"], "epochs": settings.get("epochs"), **shown}


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    if "problem" in record:
        return record["run"], record["problem"], *[""] * (len(RUNS_HEADER) - 2)
    loss, log_p = (f"{record[name]:.2f}" if record[name] is not None else "" for name in ("test_loss", "log_likelihood"))
    active = f"{record['active_units']} of {record['latent_dim']}"
    return record["run"], record["model"], record["data"], str(record["epochs"]), loss, log_p, active


def compare(args: argparse.Namespace, terminal: Terminal) -> None:
    compared = [Run(name, args.runs_dir) for name in dict.fromkeys(args.runs)]
    if not 2 <= len(compared) <= MOST:
        reject("RUN", f"2 to {MOST} different runs", len(compared))
    names = [run.path.name for run in compared]
    if len(set(names)) < len(names):
        names = [str(run.path) for run in compared]
    header = ("", *names)
    terminal.table("Figures, in nats per example", figures_of(compared), header)
    terminal.table("Settings that differ", differences(compared), header)
    out = args.out or compared[0].place("compare.png")
    histories = {name: run.model("cpu").history_ for name, run in zip(names, compared)}
    plots.save(overlaid(histories), out)
    terminal.line(str(out))
    records = {name: {"settings": run.config["settings"], "figures": run.config["figures"]} for name, run in zip(names, compared)}
    terminal.result({"runs": records, "file": str(out)})


def figures_of(compared: list[Run]) -> Iterator[tuple[str, ...]]:
    """Yield label and value of each figure that any of the runs has, in the order in which a run's own table has them."""
    columns = [{label: value for label, value, *_ in figure_rows(run.config["figures"])} for run in compared]
    for label in _in_order([list(column) for column in columns]):
        yield label, *(column.get(label, "") for column in columns)


def differences(compared: list[Run]) -> Iterator[tuple[str, ...]]:
    """Yield name and values of the settings that are not the same in all runs; the model and the data are among them."""
    records = []
    for run in compared:
        data = {"data": run.config["data"]["name"], **{name: run.source.record().get(name) for name in ("exclude_class", "labels")}}
        records.append({"model": run.config["model"], **data, **run.config["settings"]})
    for name in _in_order([list(record) for record in records]):
        values = [_text(record.get(name, "")) for record in records]
        if len(set(values)) > 1:
            yield name, *values


def _in_order(lists: list[list[str]]) -> list[str]:
    """Return every name of several lists once; a name that only some lists have comes after its predecessor there."""
    order: list[str] = []
    for names in lists:
        at = 0
        for name in names:
            if name in order:
                at = order.index(name) + 1
            else:
                order.insert(at, name)
                at += 1
    return order


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)
