"""The training steps that are compared: four sizes of one Bernoulli VAE with Adam, in float32.

Every contender starts from the same weights and is first run on the same batches with the same noise, so that its losses can be
held against a float64 reference before anything is timed.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

LEARNING_RATE, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8
CHECK_STEPS = 4


@dataclass(frozen=True)
class Workload:
    name: str
    features: int
    hidden: tuple[int, ...]
    latent: int
    batch: int
    activation: str

    @property
    def encoder_sizes(self) -> tuple[int, ...]:
        return (self.features, *self.hidden, 2 * self.latent)

    @property
    def decoder_sizes(self) -> tuple[int, ...]:
        return (self.latent, *self.hidden[::-1], self.features)

    def weights(self) -> list[list[tuple[np.ndarray, np.ndarray]]]:
        """Return (weight (n_in, n_out), bias) of each layer of the encoder and of the decoder."""
        rng = np.random.default_rng(0)
        return [
            [
                (rng.standard_normal((n_in, n_out)) / np.sqrt(n_in), 0.1 * rng.standard_normal(n_out))
                for n_in, n_out in itertools.pairwise(sizes)
            ]
            for sizes in (self.encoder_sizes, self.decoder_sizes)
        ]

    def batches(self, count: int) -> list[np.ndarray]:
        """Return grey batches, squashed normal noise: no zeros and no denormals, which would favour or slow down a contender."""
        rng = np.random.default_rng(1)
        shape = (self.batch, self.features)
        return [np.asarray(1 / (1 + np.exp(-2 * rng.standard_normal(shape))), dtype=np.float32) for _ in range(count)]

    def noise(self, count: int) -> list[np.ndarray]:
        rng = np.random.default_rng(2)
        return [rng.standard_normal((self.batch, self.latent), dtype=np.float32) for _ in range(count)]


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("A", 784, (400,), 20, 128, "relu"),
        Workload("B", 784, (200,), 50, 20, "relu"),
        Workload("B2", 784, (200, 200), 50, 20, "tanh"),
        Workload("C", 784, (1024,), 64, 512, "relu"),
    )
}


def reference_losses(workload: Workload, xp: Any = np) -> list[float]:
    """Return the losses of the first steps in float64 by NumPy, or CuPy as ``xp``, written out by hand without minivae."""
    encoder, decoder = ([[xp.array(w), xp.array(b)] for w, b in part] for part in workload.weights())
    layers = [*encoder, *decoder]
    moments = [[xp.zeros_like(p) for p in layer] for layer in layers], [[xp.zeros_like(p) for p in layer] for layer in layers]
    act = xp.tanh if workload.activation == "tanh" else (lambda a: xp.maximum(a, 0))
    slope = (lambda h: 1 - h * h) if workload.activation == "tanh" else (lambda h: h > 0)
    losses = []
    for t, (x, eps) in enumerate(zip(workload.batches(CHECK_STEPS), workload.noise(CHECK_STEPS)), start=1):
        x, eps = xp.asarray(x), xp.asarray(eps)
        n, k = len(x), workload.latent

        def forward(inputs, part):
            seen = [inputs]
            for i, (w, b) in enumerate(part):
                a = seen[-1] @ w + b
                seen.append(act(a) if i < len(part) - 1 else a)
            return seen

        def back(g, seen, part):
            grads = []
            for i in range(len(part) - 1, -1, -1):
                grads.insert(0, (seen[i].T @ g, g.sum(0)))
                g = g @ part[i][0].T
                if i:
                    g = g * slope(seen[i])
            return g, grads

        up = forward(x.astype("float64"), encoder)
        mean, log_var = up[-1][:, :k], up[-1][:, k:]
        std = xp.exp(log_var / 2)
        down = forward(mean + std * eps, decoder)
        logits = down[-1]
        nll = (xp.logaddexp(0, logits) - x * logits).sum()
        losses.append(float((nll - 0.5 * (1 + log_var - mean**2 - xp.exp(log_var)).sum()) / n))
        dz, decoder_grads = back((1 / (1 + xp.exp(-logits)) - x) / n, down, decoder)
        heads = xp.concatenate([dz + mean / n, dz * std * eps / 2 + (xp.exp(log_var) - 1) / 2 / n], axis=1)
        _, encoder_grads = back(heads, up, encoder)
        for layer, grads, first, second in zip(layers, [*encoder_grads, *decoder_grads], *moments):
            for p, g, m, v in zip(layer, grads, first, second):
                m += (1 - BETA1) * (g - m)
                v += (1 - BETA2) * (g * g - v)
                p -= LEARNING_RATE * (m / (1 - BETA1**t)) / (xp.sqrt(v / (1 - BETA2**t)) + EPS)
    return losses
