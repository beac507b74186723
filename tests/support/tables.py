"""Reads the tables that benchmarks write."""

from __future__ import annotations

import csv
from pathlib import Path


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(lines[len(comments_of(path)) :]))


def comments_of(path: Path) -> list[str]:
    """Return the lines of comment at its head."""
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
