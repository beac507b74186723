"""One training step on the GPU, in each form in which minivae can make it, and how a contender is timed.

Every contender has ``check``, which returns its first losses on given noise; ``run(n)``, which queues n steps on data that are on
the device; ``mark``, an event in that queue, and ``between`` for two of them; ``wait``; and ``close``.
"""

from __future__ import annotations

import os
import statistics
import time

import numpy as np

from benchmarks.cpu.workloads import CHECK_STEPS, LEARNING_RATE, Workload, reference_losses
from benchmarks.gpu.peers import PEERS

LARGE = Workload("L", 784, (4096, 4096), 256, 8192, "relu")
FORMS = {
    "minivae, plain CuPy": {"MINIVAE_FUSED": "0", "MINIVAE_GRAPH": "0"},
    "minivae, kernels": {"MINIVAE_GRAPH": "0"},
    "minivae, replayed": {},
    "minivae, replayed, TF32": {"MINIVAE_MATMUL": "tf32"},
    "minivae, replayed, bf16": {"MINIVAE_MATMUL": "bf16"},
    "minivae, one launch": {},
}
ONE_LAUNCH = "minivae, one launch"
WARM_UP, TIMED, ROUNDS = 50, 200, 7
ROUND = 0.5  # most seconds that a round of steps takes: where steps are long, it has fewer of them
TOLERANCE = {"": 5e-5, "TF32": 5e-3, "bf16": 2e-2}  # relative, of losses; TF32 keeps 10 bits of a factor, bf16 7


def time_batches(workload: dict, batches: list[int], quick: bool) -> list[float]:
    """Return the seconds of a replayed step by the wall clock, with batches of each size."""
    sizes = [Workload(**workload | {"batch": batch}) for batch in batches]
    return [time_steps("minivae, replayed", size.__dict__, reference_losses(size), quick)[1] for size in sizes]


def time_steps(name: str, workload: dict, reference: list[float], quick: bool) -> tuple[float, float]:
    """Return the seconds of a step by events (NaN without them) and by the wall clock, after holding the losses to a reference."""
    os.environ.update(FORMS.get(name, {}))  # this process runs only this contender
    size = Workload(**workload | {"hidden": tuple(workload["hidden"])})
    made = DeviceMinivae if name in FORMS else PEERS[name][1]
    contender = (OneLaunch if name == ONE_LAUNCH else made)(size)
    worst = max(abs(got - want) / abs(want) for got, want in zip(contender.check(), reference))
    precision = name.rpartition(", ")[2]
    if not worst < TOLERANCE.get(precision, TOLERANCE[""]):
        raise SystemExit(f"{name} computes something else: its losses are off by {worst:.2g}")
    warm_up, timed, rounds = (2, 4, 1) if quick else (WARM_UP, TIMED, ROUNDS)
    contender.run(warm_up)
    contender.wait()
    if not quick:  # the first steps also compile; these show how long one takes
        started, few = time.perf_counter(), max(1, warm_up // 10)
        contender.run(few)
        contender.wait()
        timed = max(4, min(timed, int(ROUND * few / (time.perf_counter() - started))))
    events, walls = [], []
    for _ in range(rounds):
        started, begin = time.perf_counter(), contender.mark()
        contender.run(timed)
        end = contender.mark()
        contender.wait()
        walls.append((time.perf_counter() - started) / timed)
        events.append(contender.between(begin, end) / timed)
    contender.close()
    return statistics.median(events), statistics.median(walls)


class DeviceMinivae:
    """This package on ``device="cuda"``; the environment says in which form."""

    def __init__(self, workload: Workload) -> None:
        import minivae
        from minivae.backend import resolve_device, to_device
        from minivae.kernels.counter_noise import noise_source
        from minivae.training.trainer import Trainer

        self.xp, self.workload = resolve_device("cuda"), workload
        settings = {"latent_dim": workload.latent, "hidden_dims": workload.hidden, "activation": workload.activation}
        settings |= {"batch_size": workload.batch, "learning_rate": LEARNING_RATE, "device": "cuda", "noise": "counter"}
        self.model = minivae.VAE(**settings)
        pixels = np.random.default_rng(3).integers(0, 256, (4 * workload.batch, workload.features), dtype=np.uint8)
        rows = self.model._rows(pixels)
        self.model._build(workload.features)
        for mlp, part in zip((self.model.encoder_, self.model.decoder_), workload.weights()):
            for layer, (weight, bias) in zip(mlp.layers, part):
                layer.weight.data[...], layer.bias.data[...] = (to_device(self.xp, array, "float32") for array in (weight, bias))
        self.trainer, self.to_device = Trainer(self.model, rows), to_device
        self.noise = noise_source("counter", self.xp, 0, "noise", 0)
        self.step = self._steps()

    def _steps(self):
        """Make one step for each value requested, in epochs that are long enough to be replayed."""
        count = WARM_UP + TIMED * ROUNDS
        order = self.to_device(self.xp, np.arange(count * self.workload.batch) % (4 * self.workload.batch))
        while True:
            with self.trainer.steps(order, self.noise) as make_step:
                for start in range(0, len(order), self.workload.batch):
                    make_step(order[start : start + self.workload.batch])
                    yield

    def check(self) -> list[float]:
        given = _Given(self.xp, self.to_device, self.workload.noise(CHECK_STEPS))
        return [float(self.trainer.train_step(self.to_device(self.xp, x), given)) for x in self.workload.batches(CHECK_STEPS)]

    def run(self, n: int) -> None:
        for _ in range(n):
            next(self.step)

    def mark(self):
        event = self.xp.cuda.Event()
        event.record()
        return event

    def between(self, begin, end) -> float:
        return self.xp.cuda.get_elapsed_time(begin, end) / 1e3

    def wait(self) -> None:
        self.xp.cuda.get_current_stream().synchronize()

    def close(self) -> None:
        self.step.close()  # leaves the stream of the replayed steps


class OneLaunch(DeviceMinivae):
    """The same, with many steps in a launch (``minivae.kernels.whole``)."""

    def __init__(self, workload: Workload) -> None:
        super().__init__(workload)
        from minivae.training.at_once import at_once

        self.whole = at_once(self.trainer, None)
        if self.whole is None:
            raise SystemExit(f"one launch is not for {workload}: {self.model.whole_obstacle()}")

    def run(self, n: int) -> None:
        rows = self.to_device(self.xp, np.arange(n * self.workload.batch) % (4 * self.workload.batch))
        self.whole.make(rows, self.noise)


def dispatch_cost(contender: DeviceMinivae) -> float:
    """Return the seconds of a step by the wall clock."""
    contender.run(WARM_UP)
    contender.wait()
    started = time.perf_counter()
    contender.run(TIMED)
    contender.wait()
    seconds = (time.perf_counter() - started) / TIMED
    contender.close()
    return seconds


class _Given:
    def __init__(self, xp, to_device, arrays) -> None:
        self._arrays = iter([to_device(xp, array) for array in arrays])

    def standard_normal(self, shape, dtype):
        return next(self._arrays)
