"""``minivae book``: the commands that make something to study from."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from minivae.checks import reject
from minivae.command.console import Terminal
from minivae.pages.book.make import make


def book(args: argparse.Namespace, terminal: Terminal) -> None:
    """Write the annotated VAE into a folder, and say where to begin."""
    out = Path(args.out)
    if out.exists() and not out.is_dir():
        reject("--out", "a folder, or the name of one to make", str(out), "choose another name")
    terminal.line("Making the book: running the checks that its pages report; this takes a minute or two.")
    started = time.perf_counter()
    files = make(out)
    seconds = time.perf_counter() - started
    terminal.line(f"{len(files)} pages in {seconds:.0f} s; begin with {files[0]}")
    terminal.result({"file": str(files[0]), "pages": len(files), "seconds": seconds})
