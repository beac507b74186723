"""The commands ``book`` and ``exercise``, for studying."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from minivae.checks import is_there, reject
from minivae.command.console import Terminal
from minivae.pages.book.make import make
from minivae.study import exercises, judging
from minivae.training.checkpoint import write_whole


def book(args: argparse.Namespace, terminal: Terminal) -> None:
    """Write the annotated VAE into a folder, and say where to begin."""
    out = Path(args.out)
    if is_there(out) and not out.is_dir():
        reject("--out", "a folder, or the name of one to make", str(out), "choose another name")
    terminal.line("Making the book: running the checks that its pages report; this takes a minute or two.")
    started = time.perf_counter()
    files = make(out)
    seconds = time.perf_counter() - started
    terminal.line(f"{len(files)} pages in {seconds:.0f} s; begin with {files[0]}")
    terminal.result({"file": str(files[0]), "pages": len(files), "seconds": seconds})


def exercise(args: argparse.Namespace, terminal: Terminal) -> int:
    """List the exercises, write the file of one, or check a solution."""
    if args.op is None:
        rows = [(str(n), name, f"{len(exercises.bugs_of(name)) or 'no'} to find") for n, name in enumerate(exercises.order(), 1)]
        terminal.table("Exercises, in the order of the path: minivae exercise OP", rows, ("", "operation", "bugs (--bug)"))
        terminal.result({"exercises": exercises.order()})
        return 0
    name = f"exercise_{args.op}" + "_bug" * args.bug
    file = args.out or Path(f"{name}.py")
    if args.check:
        judgement = judging.judge(args.op, file)
        for words in judgement.words:
            terminal.line(words)
        terminal.result({"right": judgement.right, "words": judgement.words})
        return int(not judgement.right)
    if is_there(file):
        reject(
            "--out", "a file that does not exist yet: your work is not overwritten", str(file), "rename it, or give another --out"
        )
    text = exercises.text_with_bug(args.op, args.number) if args.bug else exercises.text_of(args.op)
    write_whole(file, text.encode())
    terminal.line(f"{file}\nWrite it, then run:  minivae exercise {args.op}{' --bug' * args.bug} --check")
    terminal.result({"file": str(file)})
    return 0
