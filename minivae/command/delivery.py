"""What all commands on a run share: opening the run, and reporting where the result was written."""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from minivae.backend import to_numpy
from minivae.checks import check_int, reject
from minivae.command.console import Terminal
from minivae.datasets import Dataset
from minivae.pictures import plots
from minivae.runs.draft import clear_leftovers
from minivae.runs.run import Run
from minivae.training.checkpoint import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CELLS, MOST_NUMBERS = 1000, 2**28  # most cells of a picture, and most numbers of an array in a file: 1 GiB


def opened(args: argparse.Namespace, ability: str = "decode") -> tuple[Run, Any, Dataset]:
    """Return the run, its model (which must be able to do ``ability``) and its test set."""
    clear_leftovers(Path(args.runs_dir))
    run = Run(args.run, args.runs_dir)
    model = run.model(args.device)
    if not hasattr(model, ability):
        reject("RUN", f"a model that can {ability}", type(model).__name__, "choose another run")
    return run, model, run.data(args.data, args.data_dir)[1]


def how_many(args: argparse.Namespace, width: int, low: int = 1, rows: int = 1) -> int:
    """Return ``-n``; refuse it if so many examples of ``width`` numbers, in each of several rows, are too many to draw or write."""
    numbers = args.out is not None and args.out.suffix == ".npy"
    most = (MOST_NUMBERS // width if numbers else MOST_CELLS) // rows
    return check_int("-n", args.n, low, max(low, most), "" if numbers else "a picture has no room for more; --out FILE.npy has")


def deliver(args: argparse.Namespace, terminal: Terminal, run: Run, x: Any, draw: Callable[[], Figure]) -> None:
    """Write a command's result, as a picture or as numbers, and print where it is."""
    out = args.out or run.place(f"{args.command}.png")
    if out.suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, to_numpy(x))
        write_whole(out, buffer.getvalue())
    else:
        plots.save(draw(), out)
    tell_where(terminal, run, out)


def deliver_page(args: argparse.Namespace, terminal: Terminal, make: Callable[[Run, Any, Dataset], str]) -> None:
    """Write a web page of a run, and print where it is."""
    run, model, test = opened(args)
    out = args.out or run.place(f"{args.command}.html")
    write_whole(out, make(run, model, test).encode(errors="backslashreplace"))
    tell_where(terminal, run, out)


def tell_where(terminal: Terminal, run: Run, out: Path, figures: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Print where something was written; the JSON line also has ``figures``."""
    terminal.line(str(out))
    terminal.result({**figures, "run": str(run.path), "file": str(out)})
