"""The commands and their options.

The options of ``train`` that are a model's settings come from the models themselves, see ``options``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from minivae import __doc__ as about
from minivae import __version__, datasets
from minivae.checks import one_line
from minivae.command.options import add_settings, real, whole
from minivae.evaluation.latent import PATHS
from minivae.models import MODELS
from minivae.ops import ALL_OPS
from minivae.runs.run import experiments
from minivae.training.keeper import EVERY

DATA_DIR = "the folder with the public files of MNIST or of another data set that is read from files"
LEAST_STEPS = 6000  # fewest training steps unless --epochs is given: on small data, 20 epochs are too few to learn much


class Parser(argparse.ArgumentParser):
    """argparse with error messages of one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {one_line(message.removeprefix('argument '))}; see {self.prog} --help\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Write a help text or a version as other output is written: argparse hides that there is no room for it."""
        print(message, end="", file=file or sys.stderr, flush=True)


def path_to(*suffixes: str) -> Callable[[str], Path]:
    """Return a function that accepts a file name with one of these endings."""

    def read(text: str) -> Path:
        if Path(text).suffix not in suffixes:
            raise argparse.ArgumentTypeError(f"expected a file name that ends in {' or '.join(suffixes)}, got {text!r}")
        return Path(text)

    return read


def build_parser() -> Parser:
    """Return the parser of all commands."""
    parser = Parser(prog="minivae", description=(about or "minivae").partition("\n")[0].removeprefix("minivae: ").capitalize())
    parser.add_argument("--version", action="version", version=f"minivae {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")

    def command(name: str, text: str) -> Parser:
        new = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False)
        new.add_argument("--quiet", action="store_true", help="print only errors (and the line of --json)")
        new.add_argument("--json", action="store_true", help="one line of JSON on standard output, all else on standard error")
        new.add_argument("--debug", action="store_true", help="show the traceback of an error")
        return new

    def on_run(name: str, text: str, suffixes: tuple[str, ...] = (".png", ".npy")) -> Parser:
        new = command(name, text)
        text = "a run directory, its name in --runs-dir, or that of a published experiment that was repeated"
        known = ", ".join(experiments())
        new.add_argument("run", metavar="RUN", help=f"{text} ({known})" if known else text)
        new.add_argument("--runs-dir", default="runs", metavar="DIR", help="the folder of all runs (default: runs)")
        new.add_argument("--data", metavar="NAME_OR_PATH", help="other data than the run's own")
        new.add_argument("--data-dir", metavar="DIR", help=DATA_DIR)
        new.add_argument("--device", default="auto", metavar="NAME", help="cpu, cuda or auto (default: auto)")
        if suffixes:
            kinds = f"a .png, or {suffixes[1]} for the numbers" if len(suffixes) > 1 else f"a {suffixes[0]}"
            text = f"{kinds} (default: in RUN, or here for an experiment)"
            new.add_argument("--out", type=path_to(*suffixes), metavar="FILE", help=text)
        return new

    new = command("train", "train a model and write a run directory")
    new.add_argument("--model", choices=MODELS, metavar="NAME", help=f"{', '.join(MODELS)} (default: VAE)")
    text = f"{', '.join(datasets.NAMES)}, or the path of a .npy or .npz file (default: digits)"
    new.add_argument("--data", metavar="NAME_OR_PATH", help=text)
    new.add_argument("--data-dir", metavar="DIR", help=DATA_DIR)
    text = "of examples that are stored as plain rows, so that they are drawn as images"
    new.add_argument("--image-shape", nargs=2, type=whole, metavar=("HEIGHT", "WIDTH"), help=text)
    text = "classes to leave out of training, so that they can serve as anomalies later (see anomaly)"
    new.add_argument("--exclude-class", nargs="+", default=(), metavar="K", help=text)
    text = "how many training examples keep their label, evenly over the classes, for semi-supervised models (default: all)"
    new.add_argument("--labels", type=whole, metavar="N", help=text)
    new.add_argument("--name", help="name of the run (default: model-data-number, with the first number that is free)")
    new.add_argument("--runs-dir", default="runs", metavar="DIR", help="the folder of all runs (default: runs)")
    new.add_argument("--resume", metavar="RUN", help="continue a training that was stopped, or one that should have more --epochs")
    text = f'how often to save the state: seconds as "60s" or epochs as "5" (default: {EVERY})'
    new.add_argument("--checkpoint-every", default=EVERY, metavar="N", help=text)
    new.add_argument("--distributed", action="store_true", help="one of several processes that mpiexec started (needs mpi4py)")
    text = "importance samples per example for the final log p(x) (default: 100)"
    new.add_argument("--eval-samples", type=whole, default=100, metavar="N", help=text)
    text = "use at most this many test examples for it, evenly spread (default: 1000)"
    new.add_argument("--eval-examples", type=whole, default=1000, metavar="N", help=text)
    add_settings(new, MODELS, {"epochs": f"the model's, and on small data as many as make {LEAST_STEPS} steps"})

    new = on_run("evaluate", "bounds on log p(x), active units, KL on the test set", suffixes=())
    text = "importance samples per example (default: 100, for a published experiment its own number, but at most 500)"
    new.add_argument("--n-samples", type=whole, metavar="N", help=text)
    text = "use at most this many test examples for log p(x), evenly spread (default: 1000, for a published experiment all)"
    new.add_argument("--n-examples", type=whole, metavar="N", help=text)

    text = "bound log p(x) of examples sampled from the model from below and above, and say whether the estimate lies between"
    new.add_argument("--certificate", action="store_true", help=text)

    new = on_run("sample", "draw new examples from the prior")
    new.add_argument("-n", type=whole, default=64, metavar="N", help="how many (default: 64)")
    text = "classes to generate under, by a conditional model: a column each (default: all)"
    new.add_argument("--label", nargs="+", metavar="K", help=text)
    new.add_argument("--pixels", default="mean", choices=("mean", "draw"), help="the mean of p(x|z) or a draw (default: mean)")
    new.add_argument("--seed", type=whole, metavar="N", help="seed of the draws (default: the model's)")

    new = on_run("reconstruct", "decode test examples, and points around them")
    new.add_argument("-n", type=whole, default=10, metavar="N", help="how many (default: 10)")
    text = "scale of the noise, in posterior standard deviations; one row each (default: 0.5 1 2)"
    new.add_argument("--temperature", type=real, nargs="+", default=[0.5, 1.0, 2.0], metavar="X", help=text)
    new.add_argument("--seed", type=whole, metavar="N", help="seed of the noise (default: the model's)")

    new = on_run("interpolate", "walk through the latent space from one test example to another")
    new.add_argument("--from", dest="start", type=whole, default=0, metavar="I", help="row in the test set (default: 0)")
    new.add_argument("--to", dest="end", type=whole, metavar="J", help="another row (default: the next of another class)")
    new.add_argument("--path", default=PATHS[0], choices=PATHS, help="(default: linear)")
    new.add_argument("-n", type=whole, default=9, metavar="N", help="points on the way, both ends included (default: 9)")

    new = on_run("traverse", "move one latent dimension at a time")
    new.add_argument("--example", type=whole, default=0, metavar="I", help="row in the test set to start from (default: 0)")
    new.add_argument("--span", type=real, default=3.0, metavar="X", help="the dimension runs from -X to X (default: 3)")
    new.add_argument("--dims", type=whole, default=10, metavar="N", help="number of dimensions, the highest KL first (default: 10)")
    new.add_argument("-n", type=whole, default=11, metavar="N", help="points along each (default: 11)")

    on_run("transform", "the posterior means of the test set as features, drawn beside its principal components")

    new = on_run("anomaly", "separate anomalies from normal examples by their score", (".png", ".csv"))
    new.add_argument("--strange", metavar="NAME_OR_PATH", help="data whose test set is anomalous (default: the run's own)")
    text = "only examples of this class are anomalies; train with --exclude-class K"
    new.add_argument("--strange-class", metavar="K", help=text)
    text = "share of normal examples that may be called anomalies (default: 0.05)"
    new.add_argument("--false-positive-rate", type=real, default=0.05, metavar="X", help=text)

    on_run("report", "write a web page of a run: figures, curves, pictures, gradient check", (".html",))
    on_run("explore", "write a web page with the decoder in it, to move through the latent space by hand", (".html",))

    new = command("runs", "list the runs there are")
    new.add_argument("--runs-dir", default="runs", metavar="DIR", help="the folder of all runs (default: runs)")

    new = command("compare", "set runs side by side: figures, settings that differ, and curves in one plot")
    new.add_argument("runs", nargs="+", metavar="RUN", help="run directories, or their names in --runs-dir: two to six")
    new.add_argument("--runs-dir", default="runs", metavar="DIR", help="the folder of all runs (default: runs)")
    text = "a .png with the curves (default: in the first RUN, or here for an experiment)"
    new.add_argument("--out", type=path_to(".png"), metavar="FILE", help=text)

    new = command("data", "describe a data set")
    new.add_argument("name", metavar="NAME", help=f"{', '.join(datasets.NAMES)}, or the path of a .npy or .npz file")
    new.add_argument("--data-dir", metavar="DIR", help=DATA_DIR)

    new = command("gradcheck", "check every backward pass against finite differences; exit code 1 if one fails")
    new.add_argument("--op", nargs="+", default=(), metavar="OP", help="only these operations (default: all, and whole models)")
    new.add_argument("--all", action="store_true", help="a line for every gradient instead of one for every function")
    new.add_argument("--device", default="cpu", metavar="NAME", help="cuda also checks on the device (default: cpu)")
    new.add_argument("--seed", type=whole, default=0, metavar="N", help="seed of inputs and directions (default: 0)")

    new = command("explain", "the guided path through the equations; or one operation, derived and worked out on a small example")
    text = "an operation (" + ", ".join(ALL_OPS) + "), a tag such as K.2, or a topic such as elbo or adam"
    new.add_argument("op", nargs="?", metavar="OP", help=text)
    new.add_argument("--trace", action="store_true", help="every number of one training step of a tiny VAE")

    new = command("book", "make the annotated VAE, a page for every equation: web pages that need no network")
    new.add_argument("--out", default="book", metavar="DIR", help="the folder to write it into (default: book)")

    new = command("exercise", "write a backward pass yourself, or find a planted bug; the gradient check judges it")
    new.add_argument("op", nargs="?", choices=ALL_OPS, metavar="OP", help="the operation (default: list the exercises)")
    new.add_argument("--bug", action="store_true", help="plant a bug of the museum in it, for you to find")
    new.add_argument("--number", type=whole, default=0, metavar="N", help="which of its bugs (default: 0)")
    new.add_argument("--check", action="store_true", help="check the file; exit code 1 if something is wrong")
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
