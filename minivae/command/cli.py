"""The command line: parse, call, print.

Figures and tables go to standard output, progress and errors to standard error.  An error that the user can fix is one line, with
exit code 2.  A check that fails exits with 1, an interruption by Ctrl-C with 130, by SIGTERM with 143.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from typing import TextIO

import numpy as np

from minivae import datasets
from minivae.checks import MinivaeError, check_int, one_line, reason
from minivae.command import lessons
from minivae.command.anomalies import anomaly
from minivae.command.console import Terminal
from minivae.command.delivery import deliver_page
from minivae.command.environment import environment, source
from minivae.command.fitting import train
from minivae.command.overview import compare, runs
from minivae.command.parser import build_parser, completion_script
from minivae.command.reading import book, exercise
from minivae.command.uses import evaluate, interpolate, reconstruct, sample, transform, traverse
from minivae.datasets.labels import classes_in
from minivae.pages.explore import explorer
from minivae.pages.report import report as report_page
from minivae.proof import verify
from minivae.runs.scores import entropy_floor
from minivae.runs.tables import GRADCHECK_HEADER, SUMMARY_HEADER, gradcheck_rows, gradcheck_summary, power_of, size_of
from minivae.training.interruption import Interruption, interruptible


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Expected errors are handled where they arise; any other exception that gets this far is reported in one line too.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    prepare_streams()
    debug = "--debug" in arguments
    try:
        code = run(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt as stop:
        if debug:
            raise
        stop = stop if isinstance(stop, Interruption) else Interruption()
        return complain(stop.note or "interrupted", 128 + stop.signum)
    except BrokenPipeError:  # the reader of the output, such as ``head``, has closed the pipe
        abandon(sys.stdout)
        return 128 + 13  # the exit code of a process ended by SIGPIPE
    except Exception as error:
        if debug:
            raise
        if isinstance(error, MinivaeError):
            return complain(str(error))
        if isinstance(error, OSError):
            abandon(sys.stdout)
            return complain(f"output: expected a place that can be written, got {reason(error)}")
        if isinstance(error, MemoryError):
            return complain(f"memory: expected room for what was asked for, got {reason(error)}; ask for less")
        return complain(f"expected no error of this kind, got {reason(error)}; see where with --debug, and report it")
    finally:
        try:
            sys.stderr.flush()
        except OSError:  # progress and warnings that could not be written are no failure
            abandon(sys.stderr)


def run(arguments: Sequence[str]) -> int:
    """Run one command; errors are raised."""
    args = build_parser().parse_args(arguments)
    args.arguments = list(arguments)
    terminal = Terminal(args.quiet, args.json)
    with interruptible(), terminal.warnings(), np.errstate(all="ignore"):  # overflow is detected and reported where it matters
        return COMMANDS[args.command](args, terminal) or 0


def prepare_streams() -> None:
    """Make sure that neither an unencodable character nor a closed stream stops a command that prints."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the process that started this one
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - it lives as long as the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def complain(text: str, code: int = 2) -> int:
    """Print one line on standard error, if it is open, and return the exit code."""
    with contextlib.suppress(OSError):
        print(f"minivae: {one_line(text)}", file=sys.stderr, flush=True)
    return code


def abandon(stream: TextIO) -> None:
    """Redirect a broken stream to nowhere, or Python would try again to flush it, and fail, when the process ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


# Commands -----------------------------------------------------------------------------------------------------------------------


def report(args: argparse.Namespace, terminal: Terminal) -> None:
    deliver_page(args, terminal, report_page)


def explore(args: argparse.Namespace, terminal: Terminal) -> None:
    deliver_page(args, terminal, explorer)


def data(args: argparse.Namespace, terminal: Terminal) -> None:
    train, test = datasets.load(args.name, args.data_dir)
    classes = None if train.y is None else len(classes_in(train.y))
    low, high = float(train.values.min()), float(train.values.max())
    record = {
        "name": train.name,
        "n_train": len(train),
        "n_test": len(test),
        "n_features": train.values.shape[1],
        "image_shape": train.image_shape,
        "dtype": str(train.values.dtype),
        "range": [low, high],
        "classes": classes,
        "factors": dict(zip(train.factor_names, train.factor_sizes)),
        "entropy_floor": entropy_floor(test.values),
    }
    rows = [
        ("examples", f"{len(train)} training, {len(test)} test", ""),
        ("each", size_of(train), f"stored as {train.values.dtype}"),
        ("range", f"{low:g} to {high:g}", "read as value/255" if train.values.dtype == np.uint8 else ""),
        ("classes", str(classes or "none"), ""),
    ]
    if train.factor_names:
        rows += [("factors", ", ".join(f"{name} {n}" for name, n in record["factors"].items()), "and their numbers of classes")]
    if record["entropy_floor"] is not None:
        note = "nats per test example: no Bernoulli reconstruction of grey pixels can be lower"
        rows.append(("entropy floor", f"{record['entropy_floor']:.2f}", note))
    terminal.table(f"Data set {train.name}", rows)
    terminal.result(record)


def info(args: argparse.Namespace, terminal: Terminal) -> None:
    record = environment()
    terminal.table("Environment", ((name.replace("_", " "), str(value)) for name, value in record.items()))
    terminal.result(record)


def gradcheck(args: argparse.Namespace, terminal: Terminal) -> int:
    check_int("--seed", args.seed, 0)
    rows = list(verify.check_ops(args.op, args.device, args.seed))
    if not args.op:
        rows += verify.check_models(args.seed)
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in verify.VERDICTS}
    title = "Gradients: float64 against finite differences, the rest against it"
    if args.all:
        terminal.table(title, gradcheck_rows(rows), GRADCHECK_HEADER)
    else:
        terminal.table(f"{title}; the worst of each (--all: all)", gradcheck_summary(rows), SUMMARY_HEADER)
    for row in rows:
        if row.verdict != "pass":
            terminal.line(f"{row.verdict}: {row.name}, {row.argument}, {row.dtype} on {row.device}: {row.detail}")
    terminal.line(f"\nchecked: {source()}")
    verdicts = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
    terminal.line(f"{len(rows)} gradients: {verdicts}; {power_of(rows)}")
    terminal.result({"gradients": len(rows), **counts, "rows": [dataclasses.asdict(row) for row in rows]})
    return int(counts["pass"] < len(rows))


def explain(args: argparse.Namespace, terminal: Terminal) -> None:
    lessons.explain(args.op, args.trace, terminal)


def completion(args: argparse.Namespace, terminal: Terminal) -> None:
    print(completion_script())


COMMANDS: dict[str, Callable[[argparse.Namespace, Terminal], int | None]] = {
    command.__name__: command
    for command in (
        *(train, evaluate, sample, reconstruct, interpolate, traverse, transform, anomaly, report, explore, runs, compare),
        *(gradcheck, explain, book, exercise, data, completion, info),
    )
}
