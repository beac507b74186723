"""What several test files share: the form of a complaint, a leaf, prepared noise, and a network in plain NumPy to compare with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minivae import VAE
from minivae.autodiff import Tensor, backward
from minivae.backend import to_device, to_numpy
from minivae.checks import MinivaeError
from minivae.training import checkpoint

MNIST = Path(os.environ.get("MINIVAE_DATA") or Path(__file__).parents[3] / "shared" / "data" / "mnist")
needs_mnist = pytest.mark.skipif(not MNIST.is_dir(), reason="the MNIST files are not here: set MINIVAE_DATA to their folder")
RNG = np.random.default_rng(0)


def leaf(*shape: int) -> Tensor:
    """Return a tensor of random numbers that gradients go to."""
    return Tensor(RNG.standard_normal(shape), requires_grad=True)


def complaint(error: type[MinivaeError], call, *args, **kwargs) -> str:
    """Return the message of the ``error`` that the call has to raise, after checking that it is one line of the right form."""
    with pytest.raises(error) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert ": expected " in message
    assert ", got " in message
    assert "\n" not in message
    return message


def near_copies(x: np.ndarray, n: int) -> np.ndarray:
    """Return ``n`` copies of each row of ``x``, in a row, that differ by 1e-6 at most: equal rows would be given equal noise."""
    copies = np.repeat(x, n, axis=0)
    moved = copies + np.random.default_rng(0).uniform(-1e-6, 1e-6, copies.shape)
    return np.clip(moved, x.min(), x.max()).astype(x.dtype)


def rewritten(path: Path, change: Callable[[dict[str, Any]], object], **arrays: np.ndarray) -> Path:
    """Change the record of a saved model, put ``arrays`` beside its own, and give the file the checksum that goes with it."""
    kept, record = checkpoint.load(path)
    change(record)
    checkpoint.save(path, kept | arrays, record)
    return path


class Noise:
    """A generator whose standard normals are the given arrays, in turn, broadcast to what is asked for."""

    def __init__(self, *arrays: np.ndarray) -> None:
        self.arrays: Iterator[np.ndarray] = iter(arrays)

    def standard_normal(self, shape: tuple[int, ...], dtype) -> np.ndarray:
        return np.broadcast_to(next(self.arrays), shape).astype(dtype)


class Uniform:
    """A generator whose uniform numbers are the given ones, broadcast to what is asked for."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = numbers

    def random(self, shape: tuple[int, ...], dtype) -> np.ndarray:
        return np.broadcast_to(np.array(self.numbers, dtype), shape)


def blank_vae(x: np.ndarray, **settings) -> VAE:
    """Return a float64 VAE with its first weights: the one epoch it is trained for moves them by next to nothing."""
    defaults = {"epochs": 1, "batch_size": len(x), "learning_rate": 1e-300, "dtype": "float64", "device": "cpu"}
    return VAE(**defaults | settings).fit(x)


ACTIVATIONS = {"relu": lambda a: np.where(a > 0, a, 0.0), "tanh": np.tanh, "sigmoid": lambda a: 1 / (1 + np.exp(-a))}


def plain_network(vae: VAE, name: str, x: np.ndarray) -> np.ndarray:
    """Return what the "encoder" or "decoder" makes of the rows of ``x``, computed from its weights in plain float64 NumPy."""
    state = {key: to_numpy(array).astype(np.float64) for key, array in vae.parameters_.state().items()}
    depth = len(vae.hidden_dims)
    for i in range(depth + 1):
        x = x @ state[f"{name}.{i}.weight"] + state[f"{name}.{i}.bias"]
        if i < depth:
            x = ACTIVATIONS[vae.activation](x)
    return x


def plain_nll(vae: VAE, x: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Return −log p(x|z), (…,), for data (…, d) and what the decoder makes of z: textbook densities, summed over features."""
    if vae.likelihood == "bernoulli":
        p = 1 / (1 + np.exp(-outputs))
        return -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=-1)
    if vae.likelihood == "gaussian":
        outputs, raw = np.split(outputs, 2, axis=-1)
        variance = vae.variance_floor + np.exp(raw)
    elif vae.likelihood == "gaussian_shared":
        variance = np.exp(float(vae.parameters_.parameters["likelihood.log_var"].data))
    else:
        variance = vae.variance
    return (0.5 * np.log(2 * np.pi * variance) + (x - outputs) ** 2 / (2 * variance)).sum(axis=-1)


def plain_kl(mean: np.ndarray, log_var: np.ndarray) -> np.ndarray:
    """Return KL(N(mean, e^log_var) ‖ N(0, I)), summed over the last axis."""
    return 0.5 * (np.exp(log_var) + mean**2 - 1 - log_var).sum(axis=-1)


def gradients(xp, op, arrays, cotangent, **options):
    """Return what ``op`` makes of float32 arrays of module ``xp``, and its gradients, as NumPy arrays."""
    leaves = [Tensor(to_device(xp, array, "float32"), requires_grad=True) for array in arrays]
    output = op(*leaves, **options)
    backward(output, to_device(xp, cotangent), leaves)
    return [to_numpy(array) for array in (output.data, *(leaf.grad for leaf in leaves))]


def node_op(xp, op, *arrays):
    """Return the op that the tape notes for a call of ``op``: itself, or its twin on a device."""
    return op(*(Tensor(to_device(xp, array), requires_grad=True) for array in arrays)).node.op
