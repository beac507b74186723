"""What the benchmarks have measured, as tables: present in a checkout, absent from an installed package."""

from __future__ import annotations

import csv
import functools
from typing import NamedTuple

from minivae.study import source

RESULTS = source.ROOT / "benchmarks" / "results"


class Table(NamedTuple):
    """A committed table: its rows as column → cell, and the lines above it, which say when and on what it was measured."""

    rows: tuple[dict[str, str], ...]
    header: tuple[str, ...]


@functools.cache
def measured(name: str) -> Table:
    """Return the table ``name``, without rows where it is not installed."""
    path = RESULTS / f"{name}.csv"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    header = tuple(line.removeprefix("# ") for line in lines if line.startswith("# "))
    return Table(tuple(csv.DictReader(lines[len(header) :])), header)
