"""How far the cards are and what that says: on the terminal, as a table for the book, and as a plot."""

from __future__ import annotations

import csv
import io
import itertools
from pathlib import Path

from benchmarks.papers.card import Card
from benchmarks.papers.cards import CARDS
from benchmarks.papers.log import MACHINES, REACHED, Log
from benchmarks.report import COLOURS, say
from minivae.training import checkpoint

SUMMARY = ("card", "seed", "pixels", "published", *REACHED, "of epochs", "machine", "verdict")


def show(card: Card, rows: list[dict[str, str]], beside: list[dict[str, str]]) -> None:
    """Print a card: its record, what was reached, and what that says."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table

    record = Table.grid(padding=(0, 2))
    for field in ("source", "published", "data", "architecture", "optimisation", "evaluation", "note"):
        if value := getattr(card, field):
            record.add_row(field, value)
    record.add_row("run on", MACHINES.join(dict.fromkeys(one for row in rows for one in row["machine"].split(MACHINES))))
    record.add_row("verdict", "; ".join(dict.fromkeys(verdicts(card, rows, beside))))
    table = Table("seed", *(card.measure if name == "figure" else name for name in REACHED))
    for row in rows:
        table.add_row(row["seed"], *(row[name] for name in REACHED))
    console = Console()
    console.print(f"\n{card.name}", style="bold", highlight=False)
    for part in (record, table):
        console.print(Padding(part, (0, 2)))


def verdicts(card: Card, rows: list[dict[str, str]], beside: list[dict[str, str]]) -> list[str]:
    """Return the verdict on the last stage of each seed; ``beside`` are the rows of the card that it is compared with."""
    last = {row["seed"]: row for row in rows}
    others = {(row["seed"], row["stage"]): float(row["figure"]) for row in beside}
    return [card.verdict(int(row["stage"]), float(row["figure"]), others.get((seed, row["stage"]))) for seed, row in last.items()]


def sum_up(log: Log, folder: Path) -> None:
    """Write ``papers_summary.csv``: the last row of each card and seed with the verdict on it, and a line for what is not begun."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, SUMMARY, restval="", extrasaction="ignore")
    writer.writeheader()
    for card in CARDS.values():
        own = {"card": card.name, "pixels": card.pixels, "published": card.published}
        rows = log.of(card.name)
        last = {row["seed"]: row for row in rows}
        for row, verdict in zip(last.values(), verdicts(card, rows, log.of(card.beside))):
            writer.writerow(row | own | {"verdict": verdict})
        if not rows:
            writer.writerow(own | {"of epochs": sum(epochs for epochs, _ in card.stages), "verdict": "not begun"})
    checkpoint.write_whole(folder / "papers_summary.csv", text.getvalue().encode())


def plot(log: Log, path: Path) -> None:
    """Draw where the long cards are heading: the figure after each stage, and the published one."""
    from matplotlib.figure import Figure

    from minivae.pictures.plots import save

    begun = [card for card in CARDS.values() if len(card.stages) > 1 and log.of(card.name)]
    if not begun:
        return
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for card, (style, colour) in zip(begun, itertools.cycle(itertools.product(("o-", "s--", "^:"), COLOURS))):
        for seed in card.seeds:
            rows = [row for row in log.of(card.name) if row["seed"] == str(seed)]
            epochs, figures = ([float(row[name]) for row in rows] for name in ("epochs", "figure"))
            axes.plot(epochs, figures, style, color=colour, label=card.name)
        if not card.beside:
            axes.axhline(float(card.published.split()[1]), color=colour, linestyle=":", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("epochs")
    axes.set_ylabel("negative log-likelihood of the test set, nats")
    axes.set_title("After each stage; dotted: the published figure at the end", fontsize=11, loc="left")
    axes.legend(fontsize=8, frameon=False)
    save(figure, path)
    say(f"written: {path}")
