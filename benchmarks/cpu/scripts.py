"""Training on MNIST as a short script of each library: start, read the file, train, nothing else.

A script is a function to be called in a fresh process.  It returns how long reading and training took, in seconds, and the mean
loss of the last epoch in nats per example.  All draw their initial weights from the same distribution, keep the pixels as bytes
until they are needed, and use whole batches only, so that nothing is compiled twice.
"""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import math
import struct
import time

import numpy as np

from benchmarks.cpu.workloads import LEARNING_RATE, WORKLOADS, Workload

FILE = "train-images-idx3-ubyte.gz"


class Glorot(Workload):
    """A workload whose initial weights are those that minivae draws by default."""

    def weights(self):
        rng = np.random.default_rng(0)

        def layer(n_in, n_out):
            bound = math.sqrt(6 / (n_in + n_out))
            return rng.uniform(-bound, bound, (n_in, n_out)), np.zeros(n_out)

        return [[layer(*sizes) for sizes in itertools.pairwise(part)] for part in (self.encoder_sizes, self.decoder_sizes)]


WORK = Glorot(**vars(WORKLOADS["A"]))


def minivae(path: str, epochs: int) -> dict:
    """As in the README."""
    import minivae as mv

    read = time.perf_counter()
    images = mv.datasets.read_idx(path)
    pixels = _whole_batches(images.reshape(len(images), -1))
    train = time.perf_counter()
    settings = {"latent_dim": WORK.latent, "hidden_dims": WORK.hidden, "batch_size": WORK.batch, "learning_rate": LEARNING_RATE}
    vae = mv.VAE(**settings, epochs=epochs, device="cpu").fit(pixels)
    return _report(read, train, vae.history_["train_loss"][-1])


def torch(path: str, epochs: int) -> dict:
    """Eager, with the fused Adam."""
    import torch

    from benchmarks.cpu.contenders import TorchFused

    read = time.perf_counter()
    pixels = torch.from_numpy(read_pixels(path))
    train = time.perf_counter()
    contender = TorchFused(_workload(pixels))
    for _ in range(epochs):
        batches = torch.randperm(len(pixels)).split(WORK.batch)
        losses = [contender.step(pixels[index].float().div_(255)) for index in batches]
    return _report(read, train, float(sum(losses)) / len(losses))


def jax(path: str, epochs: int) -> dict:
    """One jitted function a step, which also gathers the batch; parameters and moments are donated."""
    import jax
    import jax.numpy as jnp

    from benchmarks.cpu.contenders import JaxJit

    read = time.perf_counter()
    pixels = jnp.asarray(read_pixels(path))
    train = time.perf_counter()
    contender = JaxJit(_workload(pixels))

    def step(state, key, pixels, index):
        return contender.fresh(state, key, pixels[index].astype(jnp.float32) / 255)

    step = jax.jit(step, donate_argnums=(0, 1))
    state, key, rng = contender.state, contender.key, np.random.default_rng(0)
    for _ in range(epochs):
        losses = []
        for index in rng.permutation(len(pixels)).reshape(-1, WORK.batch):
            state, key, loss = step(state, key, pixels, index)
            losses.append(loss)
    return _report(read, train, float(jnp.stack(losses).mean()))


SCRIPTS = {"minivae": minivae, "torch": torch, "jax": jax}  # by the package that has to be installed


def _report(read: float, train: float, loss: float) -> dict:
    return {"read": train - read, "train": time.perf_counter() - train, "loss": loss}


def read_pixels(path: str) -> np.ndarray:
    """Return the images of a compressed IDX file as (n, d) bytes, as many as make whole batches."""
    with gzip.open(path, "rb") as file:
        _, n, height, width = struct.unpack(">4I", file.read(16))
        pixels = np.empty((n, height * width), np.uint8)
        for block in np.array_split(pixels, 64):  # at once, gzip would hold a second copy
            file.readinto(block.data)
    return _whole_batches(pixels)


def _whole_batches(pixels: np.ndarray) -> np.ndarray:
    return pixels[: len(pixels) // WORK.batch * WORK.batch]


def _workload(pixels) -> Workload:
    return dataclasses.replace(WORK, features=pixels.shape[1])


def loss_bounds(path: str) -> tuple[float, float]:
    """Return what the loss of a model that has learned must lie between, in nats per image, computed in float64.

    No model is below the entropy of the grey pixels themselves (L.1).  One that predicts the mean image whatever it sees is above
    the upper bound, the entropy of that image's pixels.
    """
    pixels = read_pixels(path)
    counts = sum(np.bincount(part.ravel(), minlength=256) for part in np.array_split(pixels, 64))
    return float((counts * _entropy(np.arange(256) / 255)).sum()) / len(pixels), float(_entropy(pixels.mean(axis=0) / 255).sum())


def _entropy(p: np.ndarray) -> np.ndarray:
    sides = np.stack([p, 1 - p])
    return -(sides * np.log(np.where(sides > 0, sides, 1))).sum(axis=0)
