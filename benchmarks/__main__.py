"""``python -m benchmarks NAME``: run one benchmark; without a name, list them."""

from __future__ import annotations

import importlib
import os
import tempfile
from pathlib import Path

from benchmarks.report import RESULTS, say
from minivae.checks import DataFileError
from minivae.command.parser import Parser

QUICK_RESULTS = Path(tempfile.gettempdir()) / "minivae-quick"  # of --quick runs, which only show that a benchmark works
BENCHMARKS = {
    "ops": ("cpu.ops", "every op, forward and backward, compared with the limits of this machine"),
    "step": ("cpu.step", "one training step by parts"),
    "peers": ("cpu.peers", "one training step against PyTorch, JAX and autograd"),
    "memory": ("cpu.memory", "import time, and time and memory of five epochs of MNIST against PyTorch and JAX"),
    "scaling": ("cpu.scaling", "cost against batch, width, depth, latents and data size"),
    "museum": ("museum", "which kind of check sees which bug"),
    "claims": ("claims", "claims of the source texts, measured, each with a verdict and a picture"),
    "surgery": ("surgery", "the parts of the KL: biases of estimates from a batch, and six models on sprites by every score"),
    "beyond": ("beyond", "other priors, posteriors and two stochastic layers beside the plain VAE, on MNIST"),
    "papers": ("papers.papers", "published figures reproduced, each as a protocol card"),
    "gpu": ("gpu.gpu", "ops and steps on the GPU beside the CPU, what moving and launching cost, peers on the GPU"),
}


def main() -> None:
    parser = Parser(prog="python -m benchmarks", description="Benchmarks of minivae.")
    commands = parser.add_subparsers(dest="name", metavar="NAME")
    for name, (module, description) in BENCHMARKS.items():
        benchmark = importlib.import_module(f"benchmarks.{module}")
        benchmark.add_arguments(commands.add_parser(name, help=description, description=benchmark.__doc__))
    args = parser.parse_args()
    if args.name is None:
        parser.print_help()
        return
    if getattr(args, "quick", False) and args.results == RESULTS:
        args.results = QUICK_RESULTS
        say(f"--quick: the results go to {args.results}; those in {RESULTS} are not overwritten")
    for option in ("results", "state"):
        if path := getattr(args, option, None):
            there = next(place for place in (path, *path.absolute().parents) if place.exists())
            if not (there.is_dir() and os.access(there, os.W_OK)):
                got = f"{str(there)!r}, which is {'none that can be written' if there.is_dir() else 'a file'}"
                parser.exit(2, f"{parser.prog}: --{option}: expected a folder, got {got}; choose another one\n")
    try:
        importlib.import_module(f"benchmarks.{BENCHMARKS[args.name][0]}").run(args)
    except DataFileError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
