"""Where a benchmark's figures go: a table on the terminal, the same as CSV with the machine it was measured on, and a plot."""

from __future__ import annotations

import csv
import datetime
import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minivae.backend import blas_threads

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESULTS = Path(__file__).parent / "results"
COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377")  # Paul Tol's "bright", for any colour vision


def say(text: str) -> None:
    """Print a line."""
    from rich.console import Console

    Console().print(text, highlight=False, markup=False)


def contender_environment() -> dict[str, str]:
    """Return the environment of a timed process: the same number of threads for every library, and the kernels that each chooses.

    A variable such as OPENBLAS_CORETYPE would make one library use slower kernels than it chooses for this processor by itself.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    return kept | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), contender_threads())


def contender_threads() -> str:
    """Return how many threads a timed process has."""
    return os.environ.get("OMP_NUM_THREADS", "2")


def machine(threads: str | None = None) -> dict[str, str]:
    """Return what a figure depends on: processor, cores, threads (unless given, those of this process), versions, date."""
    versions = []
    # CuPy's package is named after its CUDA.
    for package in ("numpy", "numba", "torch", "jax", "autograd", "cupy", "cupy-cuda12x", "cupy-cuda13x"):
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return {
        "date": datetime.date.today().isoformat(),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "threads": f"{threads or blas_threads() or 'unknown'} threads",
        "versions": f"Python {platform.python_version()}, " + ", ".join(versions),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    wide = ", AVX-512" if any("avx512f" in line for line in lines if line.startswith("flags")) else ""
    return (names[0] if names else platform.machine()) + wide


class Table:
    """The rows of a result.

    ``finish`` prints them, unless told not to, and writes ``<folder>/<name>.csv``, headed by the machine as comment lines.
    """

    def __init__(self, name: str, columns: Sequence[str], header: dict[str, str], folder: Path = RESULTS) -> None:
        self.name, self.columns, self.header, self.folder = name, columns, header, folder
        self.rows: list[tuple[Any, ...]] = []

    def add(self, *row: Any) -> None:
        self.rows.append(row)

    def finish(self, show: bool = True) -> Path:
        if show:
            self._print()
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self.name}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            for name, value in self.header.items():
                file.write(f"# {name}: {value}\n")
            writer = csv.writer(file)
            writer.writerow(self.columns)
            writer.writerows([_short(value) for value in row] for row in self.rows)
        say(f"written: {path}")
        return path

    def _print(self) -> None:
        from rich.console import Console
        from rich.table import Table as RichTable

        printed = RichTable(title=self.name, caption="; ".join(self.header.values()))
        for column in self.columns:
            printed.add_column(column, overflow="fold")  # a narrow terminal must not cut figures off
        for row in self.rows:
            printed.add_row(*(_short(value) for value in row))
        Console().print(printed)

    def plot(self, figure: Figure) -> Path:
        """Write a figure of these rows to ``<folder>/<name>.png``, with the machine below it."""
        from minivae.pictures.plots import save

        figure.supxlabel("; ".join(self.header.values()), fontsize=6, x=0.01, ha="left")
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self.name}.png"
        save(figure, path)
        say(f"written: {path}")
        return path


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
