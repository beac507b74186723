"""Every claim that the source texts make about these models, measured, with a verdict and a picture.

A claim is measured once for each seed: the seed determines the initial weights, the order of the examples, the noise and the judge.
The rule: the 95 % confidence interval of a figure over seeds (Student's t) is compared with the bound that the claim implies.  If
all of it is inside, the claim "holds"; if all of it is outside, it "does not hold"; otherwise it is "undecided".  A claim with
several bounds holds if all of them do.

Quick mode uses the embedded digits and takes minutes; ``--full`` uses MNIST, longer training and more seeds, and takes hours.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.claims import codes, factors, generation, gradients, uses
from benchmarks.claims.lab import FULL, QUICK, Effort, Lab
from benchmarks.claims.record import MOST_SEEDS, Claim, Measured, Values, interval
from benchmarks.report import RESULTS, Table, machine, say

GROUPS = {module.__name__.rpartition(".")[2]: module.CLAIMS for module in (codes, generation, uses, factors, gradients)}
CLAIMS = {claim.name: claim for group in GROUPS.values() for claim in group}


def add_arguments(parser):
    parser.add_argument("group", nargs="?", choices=GROUPS, help="a file of claims; all claims if nothing is chosen")
    parser.add_argument("--claim", nargs="+", choices=CLAIMS, default=[], help="single claims")
    parser.add_argument("--full", action="store_true", help="MNIST, more seeds, longer training: hours instead of minutes")
    parser.add_argument("--seeds", type=int, choices=range(2, MOST_SEEDS + 1), help="how many seeds", metavar=f"2...{MOST_SEEDS}")
    parser.add_argument("--data-dir", help="folder with the four MNIST files, for --full")
    parser.add_argument("--results", type=Path, default=RESULTS / "claims", help="folder for tables and pictures")


def run(args):
    effort = dataclasses.replace(FULL if args.full else QUICK, data_dir=args.data_dir)
    if args.seeds:
        effort = dataclasses.replace(effort, seeds=args.seeds)
    mode = {"mode": f"{'full' if args.full else 'quick'}: {effort.handwriting} and sprites, {effort.seeds} seeds"}
    chosen = [*args.claim, *(claim.name for claim in GROUPS.get(args.group, ()))] or CLAIMS
    examine([CLAIMS[name] for name in chosen], effort, machine() | mode, args.results)


def examine(claims: Sequence[Claim], effort: Effort, header: dict[str, str], folder: Path) -> None:
    """Measure claims, and write their verdicts, their figures and their pictures into ``folder``."""
    verdicts = Table("claims", ("claim", "verdict", "seconds", "statement", "source"), header, folder)
    figures = Table("figures", ("claim", "figure", "mean", "± 95 %", "least", "greatest", "asked", "verdict"), header, folder)
    labs = [Lab(effort, seed) for seed in range(effort.seeds)]
    for claim in claims:
        started = time.perf_counter()
        measured = [claim.measure(lab) for lab in labs]
        values = _by_figure(measured)
        verdict = claim.verdict(values)
        say(f"{claim.name}: {verdict}")
        verdicts.add(claim.name, verdict, time.perf_counter() - started, claim.statement, claim.source)
        for figure, numbers in values.items():
            bound = claim.asks.get(figure)
            judged = (bound, bound.verdict(numbers)) if bound else ("", "")
            figures.add(claim.name, figure, *interval(numbers), min(numbers), max(numbers), *judged)
        if claim.table:
            columns, rows = claim.table(values)
            table = Table(claim.name, columns, header, folder)
            for row in rows:
                table.add(*row)
            table.finish()
        _draw(claim, values, measured[0].shown, folder)
    figures.finish()
    verdicts.finish()


def _by_figure(measured: Sequence[Measured]) -> Values:
    return {figure: [float(one.figures[figure]) for one in measured] for figure in measured[0].figures}


def _draw(claim: Claim, values: Values, shown: Any, folder: Path) -> None:
    from minivae.pictures.plots import save

    folder.mkdir(parents=True, exist_ok=True)
    save(claim.picture(values, shown), folder / f"{claim.name}.png")
