"""Whole trainings on the GPU: how far one drifts from the same training on the CPU, and ten epochs of MNIST.

Drift: with ``noise="counter"`` a training on any device draws the same noise, so two trainings differ by the rounding of their
arithmetic only, and by what becomes of that.  Each is compared with one on the CPU in float64, after the same number of steps; that
on the CPU in float32 shows how much of it is due to float32.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.cpu.workloads import LEARNING_RATE
from benchmarks.gpu.budget import Budget
from benchmarks.gpu.contenders import FEWER, ONE_LAUNCH, form_of
from benchmarks.report import COLOURS, Table

NETWORK = {"latent_dim": 20, "hidden_dims": (400,), "batch_size": 128, "noise": "counter"}  # of A
STEPS, QUICK_STEPS = (50, 100, 200, 500, 1000), (50,)
IN_EPOCH = 50  # steps in an epoch: what is compared is there after each
EXACT, SINGLE = "CPU, float64", "CPU, float32"
ON_DEVICE = ("minivae, replayed", FEWER, ONE_LAUNCH, "minivae, TF32")
EPOCHS, TRAINED = 10, (FEWER, ONE_LAUNCH)


def run_drift(args, header, budget: Budget) -> None:
    columns = ("training", "steps", "largest difference of a parameter", "relative difference of the loss")
    table = Table("gpu_drift", columns, header, args.results)
    steps = QUICK_STEPS if args.quick else STEPS
    with tempfile.TemporaryDirectory() as folder:
        kept = {}
        for name in (EXACT, SINGLE, *ON_DEVICE):
            path = Path(folder) / f"{len(kept)}.npz"
            if budget.measure(f"drift, {name}", train_for_steps, name, steps, str(path)):
                kept[name] = dict(np.load(path))
            elif name == EXACT:
                return
    exact = kept.pop(EXACT)
    for name, one in kept.items():
        for step, parameters, loss, exactly, exact_loss in zip(
            steps, one["parameters"], one["losses"], exact["parameters"], exact["losses"], strict=True
        ):
            table.add(name, step, float(abs(parameters - exactly).max()), float(abs(loss / exact_loss - 1)))
    table.finish()
    table.plot(_curves(table.rows))


def _curves(rows):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, column, title in zip(
        figure.subplots(1, 2), (2, 3), ("largest difference of a parameter", "relative difference of the loss")
    ):
        for name, colour in zip(dict.fromkeys(row[0] for row in rows), COLOURS):
            points = [(row[1], row[column]) for row in rows if row[0] == name]
            axes.loglog(*zip(*points), "o-", color=colour, label=name)
        axes.set(title=f"{title}, from {EXACT}", xlabel="steps")
    axes.legend(frameon=False, fontsize=8)
    return figure


def run_training(args, header, budget: Budget) -> None:
    columns = ("training", "epochs", "seconds, first run", "seconds, second run", "test loss")
    table = Table("gpu_training", columns, header, args.results)
    if not (args.quick or args.data_dir):
        budget.leave_out("ten epochs of MNIST", "its folder is not given (--data-dir)")
        return
    for name in TRAINED:
        if seen := budget.measure(f"training, {name}", train_twice, name, "digits" if args.quick else "mnist", args.data_dir):
            table.add(name, EPOCHS, *seen)
    table.finish()


# In a child process ---------------------------------------------------------------------------------------------------------------


def train_for_steps(name: str, steps: list[int], path: str) -> bool:
    """Make the last of ``steps``; of each, write the parameters after it, and the mean loss of the ``IN_EPOCH`` steps up to it."""
    import minivae as mv

    pixels = digits(IN_EPOCH * NETWORK["batch_size"])
    device, dtype = ("cpu", name.rpartition(", ")[2]) if name.startswith("CPU") else ("cuda", "float32")
    kept = []
    with form_of(name):
        model = mv.VAE(**NETWORK, learning_rate=LEARNING_RATE, epochs=steps[-1] // IN_EPOCH, device=device, dtype=dtype)

        def keep(trainer) -> None:
            if trainer.step in steps:
                kept.append(mv.backend.to_numpy(model.parameters_.values).astype("float64"))

        model.fit(pixels, on_epoch=keep)
    losses = [model.history_["train_loss"][step // IN_EPOCH - 1] for step in steps]
    np.savez(path, parameters=kept, losses=losses)
    return True


def digits(rows: int) -> np.ndarray:
    """Return the handwritten digits of 8 × 8 pixels as (rows, 28 × 28) bytes, again and again."""
    from minivae import datasets

    small = (255 * np.asarray(datasets.load("digits")[0].x)).astype(np.uint8).reshape(-1, 8, 8)
    large = np.pad(np.kron(small, np.ones((1, 3, 3), np.uint8)), ((0, 0), (2, 2), (2, 2)))
    return np.resize(large.reshape(len(large), -1), (rows, 784))


def train_twice(name: str, data: str, data_dir: str | None) -> tuple[float, float, float]:
    """Return the seconds of ten epochs, where the first also compiles, of the same again, and the test loss."""
    import minivae as mv

    train, test = mv.datasets.load(data, data_dir)
    seconds = []
    with form_of(name):
        for _ in range(2):
            model = mv.VAE(**NETWORK, epochs=EPOCHS, device="cuda").fit(train.values, x_test=test.values)
            seconds.append(math.fsum(model.history_["seconds"]))
    return *seconds, model.history_["test_loss"][-1]
