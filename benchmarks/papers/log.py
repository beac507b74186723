"""What the cards have reached so far: ``papers.csv``."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from minivae.training import checkpoint

REACHED = ("stage", "epochs", "figure", "± s.e.", "samples", "active", "core hours")
MACHINES = " / "  # between the machines that a run has been on, each with the day
COLUMNS = ("card", "seed", *REACHED, "of epochs", "published", "machine")


class Log:
    """The rows of ``papers.csv``, one for each card, seed and stage."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def of(self, card: str) -> list[dict[str, str]]:
        """Return a card's rows by seed and stage."""
        return sorted((row for row in self._rows() if row["card"] == card), key=lambda row: (int(row["seed"]), int(row["stage"])))

    def add(self, row: dict[str, str]) -> None:
        """Write a row, in place of an earlier one for the same card, seed and stage."""
        others = [old for old in self._rows() if any(old[name] != row[name] for name in COLUMNS[:3])]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows([*others, row])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.write_whole(self.path, text.getvalue().encode())

    def _rows(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
