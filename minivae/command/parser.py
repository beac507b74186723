"""What can be said on the command line: every command with its options.

The options of ``train`` that are a model's settings come from the models themselves, see ``options``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from minivae import __doc__ as about
from minivae import __version__, datasets
from minivae.checks import one_line
from minivae.command.options import add_settings, real, whole
from minivae.evaluation.latent import PATHS
from minivae.models import MODELS
from minivae.ops import ALL_OPS
from minivae.training.keeper import EVERY

LEAST_STEPS = 6000  # of training, unless --epochs is given: on small data 20 epochs would be over before much is learned


class Parser(argparse.ArgumentParser):
    """argparse, with complaints of one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {one_line(message.removeprefix('argument '))}; see {self.prog} --help\n")


def path_to(*suffixes: str) -> Callable[[str], Path]:
    """Return what reads a file name with one of these endings."""

    def read(text: str) -> Path:
        if Path(text).suffix not in suffixes:
            raise argparse.ArgumentTypeError(f"expected a file name that ends in {' or '.join(suffixes)}, got {text!r}")
        return Path(text)

    return read


def build_parser() -> Parser:
    """Return the parser of all commands."""
    parser = Parser(prog="minivae", description=(about or "").splitlines()[0].removeprefix("minivae: ").capitalize())
    parser.add_argument("--version", action="version", version=f"minivae {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")

    def command(name: str, text: str) -> Parser:
        new = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False)
        new.add_argument("--quiet", action="store_true", help="print nothing but complaints (and what --json asks for)")
        new.add_argument("--json", action="store_true", help="put the result on standard output as one JSON line, the rest aside")
        new.add_argument("--debug", action="store_true", help="show the traceback of a complaint")
        return new

    def on_run(name: str, text: str, suffixes: tuple[str, ...] = (".png", ".npy")) -> Parser:
        new = command(name, text)
        new.add_argument("run", metavar="RUN", help="a run directory, or its name in --runs-dir")
        new.add_argument("--runs-dir", default="runs", metavar="DIR", help="the folder of all runs (default: runs)")
        new.add_argument("--data", metavar="NAME_OR_PATH", help="other data than the run's own")
        new.add_argument("--data-dir", metavar="DIR", help="the folder with MNIST's four files, or dSprites' one")
        new.add_argument("--device", default="auto", metavar="NAME", help="cpu, cuda or auto (default: auto)")
        if suffixes:
            kinds = f"a .png, or {suffixes[1]} for the numbers" if len(suffixes) > 1 else f"a {suffixes[0]}"
            new.add_argument("--out", type=path_to(*suffixes), metavar="FILE", help=f"{kinds} (default: in RUN)")
        return new

    new = command("train", "train a model and write a run directory")
    new.add_argument("--model", choices=MODELS, metavar="NAME", help=f"{', '.join(MODELS)} (default: VAE)")
    text = f"{', '.join(datasets.NAMES)}, or the path of a .npy or .npz file (default: digits)"
    new.add_argument("--data", metavar="NAME_OR_PATH", help=text)
    new.add_argument("--data-dir", metavar="DIR", help="the folder with MNIST's four files, or dSprites' one")
    text = "classes whose examples are left out, to be called strange later (see anomaly)"
    new.add_argument("--exclude-class", nargs="+", default=(), metavar="K", help=text)
    text = "training examples that keep their label, evenly over the classes, for models that learn from few (default: all)"
    new.add_argument("--labels", type=whole, metavar="N", help=text)
    new.add_argument("--name", help="of the run (default: model-data-number, the first that is free)")
    new.add_argument("--runs-dir", default="runs", metavar="DIR", help="the folder of all runs (default: runs)")
    new.add_argument("--resume", metavar="RUN", help="go on with a training that was stopped, or that is to have more --epochs")
    text = f'save the state so often: seconds as "60s" or epochs as "5" (default: {EVERY})'
    new.add_argument("--checkpoint-every", default=EVERY, metavar="N", help=text)
    new.add_argument("--distributed", action="store_true", help="one of several processes that mpiexec started (needs mpi4py)")
    text = "importance samples per example for the final log p(x) (default: 100)"
    new.add_argument("--eval-samples", type=whole, default=100, metavar="N", help=text)
    text = "at most so many test examples for it, evenly spread (default: 1000)"
    new.add_argument("--eval-examples", type=whole, default=1000, metavar="N", help=text)
    add_settings(new, MODELS, {"epochs": f"the model's, and on small data as many as make {LEAST_STEPS} steps"})

    new = on_run("evaluate", "bounds on log p(x), active units, KL on the test set", suffixes=())
    new.add_argument("--n-samples", type=whole, default=100, metavar="N", help="importance samples per example (default: 100)")
    text = "at most so many test examples for log p(x), evenly spread (default: 1000)"
    new.add_argument("--n-examples", type=whole, default=1000, metavar="N", help=text)

    text = "enclose log p(x) of examples that the model makes between two bounds, and say whether the estimate lies inside"
    new.add_argument("--certificate", action="store_true", help=text)

    new = on_run("sample", "draw new examples from the prior")
    new.add_argument("-n", type=whole, default=64, metavar="N", help="how many (default: 64)")
    text = "classes to generate under, by a conditional model: a column each (default: all)"
    new.add_argument("--label", nargs="+", metavar="K", help=text)
    new.add_argument("--pixels", default="mean", choices=("mean", "draw"), help="the mean of p(x|z) or a draw (default: mean)")
    new.add_argument("--seed", type=whole, metavar="N", help="of the draws (default: the model's)")

    new = on_run("reconstruct", "decode test examples, and points around them")
    new.add_argument("-n", type=whole, default=10, metavar="N", help="how many (default: 10)")
    text = "how far to stray, in posterior standard deviations: a row each (default: 0.5 1 2)"
    new.add_argument("--temperature", type=real, nargs="+", default=[0.5, 1.0, 2.0], metavar="X", help=text)
    new.add_argument("--seed", type=whole, metavar="N", help="of the noise (default: the model's)")

    new = on_run("interpolate", "walk through the latent space from one test example to another")
    new.add_argument("--from", dest="start", type=whole, default=0, metavar="I", help="row in the test set (default: 0)")
    new.add_argument("--to", dest="end", type=whole, metavar="J", help="another row (default: the next of another class)")
    new.add_argument("--path", default=PATHS[0], choices=PATHS, help="(default: linear)")
    new.add_argument("-n", type=whole, default=9, metavar="N", help="points on the way, both ends included (default: 9)")

    new = on_run("traverse", "move one latent dimension at a time")
    new.add_argument("--example", type=whole, default=0, metavar="I", help="row in the test set to start from (default: 0)")
    new.add_argument("--span", type=real, default=3.0, metavar="X", help="the dimension runs from -X to X (default: 3)")
    new.add_argument("--dims", type=whole, default=10, metavar="N", help="how many dimensions, by falling KL (default: 10)")
    new.add_argument("-n", type=whole, default=11, metavar="N", help="points of each (default: 11)")

    on_run("transform", "the posterior means of the test set as features, drawn beside its principal components")

    new = on_run("anomaly", "tell strange examples from normal ones by their score", (".png", ".csv"))
    new.add_argument("--strange", metavar="NAME_OR_PATH", help="data whose test set is strange (default: the run's own)")
    text = "only its examples of this class, which are then not normal; train with --exclude-class K"
    new.add_argument("--strange-class", metavar="K", help=text)
    text = "share of normal examples that may be called strange (default: 0.05)"
    new.add_argument("--false-positive-rate", type=real, default=0.05, metavar="X", help=text)

    on_run("report", "write a web page of a run: figures, curves, pictures, gradient check", (".html",))
    on_run("explore", "write a web page with the decoder in it, to move through the latent space by hand", (".html",))

    new = command("data", "say what is in a data set")
    new.add_argument("name", metavar="NAME", help=f"{', '.join(datasets.NAMES)}, or the path of a .npy or .npz file")
    new.add_argument("--data-dir", metavar="DIR", help="the folder with MNIST's four files, or dSprites' one")

    new = command("gradcheck", "check every backward pass against finite differences; exit code 1 if one fails")
    new.add_argument("--op", nargs="+", default=(), metavar="OP", help="only these operations (default: all, and whole models)")
    new.add_argument("--all", action="store_true", help="a line for every gradient instead of one for every function")
    new.add_argument("--device", default="cpu", metavar="NAME", help="cuda adds the rows of the device (default: cpu)")
    new.add_argument("--seed", type=whole, default=0, metavar="N", help="of inputs and directions (default: 0)")

    new = command("explain", "what to read in which order; or one operation, derived, and worked out on a small example")
    new.add_argument("op", nargs="?", metavar="OP", help=", ".join(ALL_OPS))
    new.add_argument("--trace", action="store_true", help="one training step of a tiny VAE, every number of it")

    new = command("book", "make the annotated VAE, a page for every equation: web pages that need no network")
    new.add_argument("--out", default="book", metavar="DIR", help="the folder to write it into (default: book)")

    new = command("exercise", "write a backward pass yourself, or find a planted bug; judged by the gradient check")
    new.add_argument("op", nargs="?", choices=ALL_OPS, metavar="OP", help="the operation (default: list the exercises)")
    new.add_argument("--bug", action="store_true", help="a bug of the museum is in it, to be found")
    new.add_argument("--number", type=whole, default=0, metavar="N", help="which of its bugs (default: 0)")
    new.add_argument("--check", action="store_true", help="judge the file; exit code 1 if something is wrong")
    new.add_argument("--out", type=path_to(".py"), metavar="FILE", help="the file (default: exercise_OP.py)")

    command("completion", 'print a shell function that completes these commands: eval "$(minivae completion)" in bash or zsh')
    command("info", "versions, BLAS, processors, device")
    return parser


def completion_script() -> str:
    """Return a shell function that completes the commands and their options, and file names after those."""
    commands = next(action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)).choices
    cases = [f"    {name}) words={' '.join(parser._option_string_actions)!r} ;;" for name, parser in commands.items()]
    return "\n".join(
        (
            '[ -n "$ZSH_VERSION" ] && autoload -U +X compinit bashcompinit && compinit && bashcompinit',
            "_minivae() {",
            '  local words=""',
            '  case "${COMP_WORDS[1]}" in',
            *cases,
            "  esac",
            f'  [ "$COMP_CWORD" = 1 ] && words="{" ".join(commands)}"',
            '  COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))',
            "}",
            "complete -o default -F _minivae minivae",
        )
    )
