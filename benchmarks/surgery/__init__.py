"""The parts of the KL (T.1): how biased estimates from a batch are, and how weighting the parts affects disentanglement.

``biases``: mutual information and total correlation as batches of several sizes estimate them, beside the exact figures, on
simulated posteriors and on those of trained models; as a table, a picture and a page that explains them.
``models``: six models on sprites, each with several seeds, by every score; and how much of the variance is due to the seed.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.claims.record import MOST_SEEDS
from benchmarks.report import RESULTS
from benchmarks.surgery.biases import measure_biases
from benchmarks.surgery.models import measure_models


def add_arguments(parser):
    parser.add_argument("--part", nargs="+", choices=("biases", "models"), default=["biases", "models"])
    parser.add_argument("--seeds", type=int, default=10, choices=range(2, MOST_SEEDS + 1), metavar=f"2...{MOST_SEEDS}")
    parser.add_argument("--epochs", type=int, default=12, help="of training, for each model (default: 12)")
    parser.add_argument("--rounds", type=int, default=100, help="batches of each size (default: 100)")
    parser.add_argument("--data-dir", help="folder with the four MNIST files, for the posteriors of MNIST")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for tables and pictures")


def run(args):
    if "biases" in args.part:
        measure_biases(args.results, args.rounds, args.epochs, args.data_dir)
    if "models" in args.part:
        measure_models(args.results, args.seeds, args.epochs)
