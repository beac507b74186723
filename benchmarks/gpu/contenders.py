"""One training step on the GPU, in each form in which minivae can make it, and how a contender is timed.

Every contender has ``check``, which returns its first losses on given noise; ``run(n)``, which queues about n steps, on data that
are on the device, and returns how many; ``mark``, an event in that queue, and ``between`` for two of them; ``wait``; and ``close``.
"""

from __future__ import annotations

import contextlib
import math
import os
import statistics
import time
from collections.abc import Iterator
from typing import NamedTuple
from unittest import mock

import numpy as np

from benchmarks.cpu.workloads import CHECK_STEPS, LEARNING_RATE, WORKLOADS, Workload, reference_losses
from benchmarks.gpu.peers import PEERS
from minivae import kernels
from minivae.backend import resolve_device
from minivae.training.trainer import CHECK_EVERY

WORKS = WORKLOADS | {"L": Workload("L", 784, (4096, 4096), 256, 8192, "relu")}


class Form(NamedTuple):
    """A form of a step: its environment variables, and whether cuBLAS computes all products, or only large ones."""

    environment: dict[str, str]
    only_cublas: bool = False


STEP_BY_STEP = {"MINIVAE_WHOLE": "0"}
FORMS = {
    "minivae, plain CuPy": Form(STEP_BY_STEP | {"MINIVAE_FUSED": "0", "MINIVAE_GRAPH": "0"}),
    "minivae, kernels": Form(STEP_BY_STEP | {"MINIVAE_GRAPH": "0"}, only_cublas=True),
    "minivae, replayed": Form(STEP_BY_STEP, only_cublas=True),
    "minivae, fewer launches": Form(STEP_BY_STEP),
    "minivae, one launch": Form({}),
    "minivae, TF32": Form(STEP_BY_STEP | {"MINIVAE_MATMUL": "tf32"}, only_cublas=True),
    "minivae, bf16": Form(STEP_BY_STEP | {"MINIVAE_MATMUL": "bf16"}, only_cublas=True),
}
FEWER, ONE_LAUNCH = "minivae, fewer launches", "minivae, one launch"
WARM_UP, TIMED, ROUNDS = 50, 200, 7
ROUND = 0.5  # most seconds that a round of steps takes: where steps are long, it has fewer of them
TOLERANCE = {"": 5e-5, "TF32": 5e-3, "bf16": 2e-2}  # relative, of losses; TF32 keeps 10 bits of a factor, bf16 7


@contextlib.contextmanager
def form_of(name: str) -> Iterator[None]:
    """Make steps in the form of a name in this block; peers have none."""
    form = FORMS.get(name, Form({}))
    small = 0 if form.only_cublas else kernels.SMALL
    with mock.patch.dict(os.environ, form.environment), mock.patch.object(kernels, "SMALL", small):
        yield


def reference(workload: dict, device: str) -> list[float]:
    """Return the losses to which contenders are held, computed in float64 on a device."""
    return reference_losses(Workload(**workload | {"hidden": tuple(workload["hidden"])}), resolve_device(device))


def time_batches(workload: dict, batches: list[int], quick: bool) -> list[float]:
    """Return the seconds of a step by the wall clock, replayed, with batches of each size."""
    sizes = [Workload(**workload | {"batch": batch}) for batch in batches]
    return [time_steps(FEWER, size.__dict__, reference_losses(size), quick)[1] for size in sizes]


def time_steps(name: str, workload: dict, reference: list[float], quick: bool) -> tuple[float, float, float]:
    """Time the steps of a contender, after holding its losses to a reference.

    Returns
    -------
    Of a step: seconds by events, NaN without them; seconds by the wall clock; launches, NaN where they cannot be counted.
    """
    with form_of(name):
        return _time_steps(name, Workload(**workload | {"hidden": tuple(workload["hidden"])}), reference, quick)


def _time_steps(name: str, size: Workload, reference: list[float], quick: bool) -> tuple[float, float, float]:
    kind = OneLaunch if name == ONE_LAUNCH else DeviceMinivae if name in FORMS else PEERS[name][1]
    contender = kind(size)
    worst = max(abs(got - want) / abs(want) for got, want in zip(contender.check(), reference))
    precision = name.rpartition(", ")[2]
    if not worst < TOLERANCE.get(precision, TOLERANCE[""]):
        raise SystemExit(f"{name} computes something else: its losses are off by {worst:.2g}")
    warm_up, timed, rounds = (2, 4, 1) if quick else (WARM_UP, TIMED, ROUNDS)
    contender.run(warm_up)
    contender.wait()
    if not quick:  # the first steps also compile; these show how long one takes
        started, made = time.perf_counter(), contender.run(warm_up // 10)
        contender.wait()
        timed = max(4, min(timed, int(ROUND * made / (time.perf_counter() - started))))
    events, walls = [], []
    for _ in range(rounds):
        started, begin = time.perf_counter(), contender.mark()
        made = contender.run(timed)
        end = contender.mark()
        contender.wait()
        walls.append((time.perf_counter() - started) / made)
        events.append(contender.between(begin, end) / made)
    contender.close()
    launches = contender.launches() if name in FORMS else math.nan
    return statistics.median(events), statistics.median(walls), launches


class DeviceMinivae:
    """This package on ``device="cuda"``; the environment says in which form."""

    def __init__(self, workload: Workload) -> None:
        import minivae
        from minivae.backend import to_device
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
        steps = WARM_UP + WARM_UP // 10 + TIMED * ROUNDS
        self.order = to_device(self.xp, np.arange(steps * workload.batch) % (4 * workload.batch))
        self.step = self._steps()

    def _steps(self):
        """Make one step for each value requested, in epochs that are long enough to be replayed."""
        while True:
            with self.trainer.steps(self.order, self.noise) as make_step:
                for start in range(0, len(self.order), self.workload.batch):
                    make_step(self.order[start : start + self.workload.batch])
                    yield

    def check(self) -> list[float]:
        given = _Given(self.xp, self.to_device, self.workload.noise(CHECK_STEPS))
        return [float(self.trainer.train_step(self.to_device(self.xp, x), given)) for x in self.workload.batches(CHECK_STEPS)]

    def run(self, n: int) -> int:
        for _ in range(n):
            next(self.step)
        return n

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

    def launches(self) -> float:
        """Count the launches of a step in its graph; NaN for plain CuPy, whose products cannot be captured."""
        graph = self.trainer._replay.graph or self._capture()
        return graph.debug_dot_str().count("shape=") / self.in_launch if graph else math.nan  # every node is drawn as a shape

    in_launch = 1  # steps

    def _capture(self):
        from minivae.kernels.graph import capture

        with self.xp.cuda.Stream(non_blocking=True) as stream:
            self._some_steps()  # so that all memory is there
            try:
                return capture(stream, self._some_steps)
            except NotImplementedError:
                return None
            finally:
                stream.synchronize()

    def _some_steps(self) -> None:
        order = self.order[: self.workload.batch]
        self.trainer.train_step(self.trainer.train.take(order, self.noise), self.noise)


class OneLaunch(DeviceMinivae):
    """The same, with many steps in a launch (``minivae.kernels.whole``)."""

    def __init__(self, workload: Workload) -> None:
        super().__init__(workload)
        from minivae.training.at_once import at_once

        self.whole = at_once(self.trainer, None)
        if self.whole is None:
            raise SystemExit(f"one launch is not for {workload}: {self.model.whole_obstacle()}")

    in_launch = CHECK_EVERY

    def run(self, n: int) -> int:
        for start in range(0, n, self.in_launch):
            self.whole.make(self.order[: min(n - start, self.in_launch) * self.workload.batch], self.noise)
        return n

    def _some_steps(self) -> None:
        self.run(self.in_launch)


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
