"""One training step, as each library's users write it.

A contender is a class with ``step(x, noise=None)``: one forward, backward and Adam update on a batch, with fresh noise unless some
is given; it returns the loss in whatever form costs nothing.  ``prepare`` turns a NumPy batch into what the contender trains on.
Each lives in a process of its own, so imports are local: two BLAS libraries in one process would fight over the cores.
"""

from __future__ import annotations

import itertools
import os

import numpy as np

from benchmarks.cpu.workloads import BETA1, BETA2, EPS, LEARNING_RATE, Workload

THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))


class Minivae:
    """This package: the generic tape, its ops and its trainer."""

    package = "minivae"

    def __init__(self, workload: Workload) -> None:
        import minivae
        from minivae.training.batches import Rows
        from minivae.training.trainer import Trainer

        self.model = minivae.VAE(
            latent_dim=workload.latent,
            hidden_dims=workload.hidden,
            activation=workload.activation,
            learning_rate=LEARNING_RATE,
            batch_size=workload.batch,
            device="cpu",
        )
        self.model._build(workload.features)
        for mlp, part in zip((self.model.encoder_, self.model.decoder_), workload.weights()):
            for layer, (weight, bias) in zip(mlp.layers, part):
                layer.weight.data[...], layer.bias.data[...] = weight, bias
        self.trainer = Trainer(self.model, Rows(np.zeros((workload.batch, workload.features), np.uint8), np, "float32"))
        self.rng = np.random.default_rng(0)

    def prepare(self, x):
        return x

    def step(self, x, noise=None):
        return self.trainer.train_step(x, _Given(noise) if noise is not None else self.rng)


class _Given:
    """A generator that returns what it was given."""

    def __init__(self, noise):
        self.noise = noise

    def standard_normal(self, shape, dtype):
        return self.noise


class TorchEager:
    """PyTorch as in its own VAE example: modules, ``loss.backward()``, Adam."""

    package = "torch"
    fused, compiled = False, False

    def __init__(self, workload: Workload) -> None:
        import torch

        torch.set_num_threads(THREADS)
        self.torch, self.latent = torch, workload.latent
        nonlinearity = torch.nn.Tanh if workload.activation == "tanh" else torch.nn.ReLU

        def mlp(part):
            layers = []
            for weight, bias in part:
                linear = torch.nn.Linear(*weight.shape)
                with torch.no_grad():
                    linear.weight.copy_(torch.from_numpy(weight.T))
                    linear.bias.copy_(torch.from_numpy(bias))
                layers += [linear, nonlinearity()]
            return torch.nn.Sequential(*layers[:-1])

        self.encoder, self.decoder = map(mlp, workload.weights())
        parameters = [*self.encoder.parameters(), *self.decoder.parameters()]
        self.optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, betas=(BETA1, BETA2), eps=EPS, fused=self.fused)
        self.loss = torch.compile(self._loss) if self.compiled else self._loss

    def _loss(self, x, noise):
        functional = self.torch.nn.functional
        mean, log_var = self.encoder(x).split(self.latent, dim=1)
        logits = self.decoder(mean + self.torch.exp(0.5 * log_var) * noise)
        nll = functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        kl = -0.5 * self.torch.sum(1 + log_var - mean.pow(2) - log_var.exp())
        return (nll + kl) / len(x)

    def prepare(self, x):
        return self.torch.from_numpy(x)

    def step(self, x, noise=None):
        noise = self.torch.randn(len(x), self.latent) if noise is None else self.torch.from_numpy(noise)
        self.optimizer.zero_grad()
        loss = self.loss(x, noise)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class TorchFused(TorchEager):
    """The same with the fused Adam."""

    fused = True


class TorchCompile(TorchFused):
    """The same, forward and backward through torch.compile."""

    compiled = True


class JaxJit:
    """JAX: one jitted function a step, parameters and moments donated."""

    package = "jax"

    def __init__(self, workload: Workload) -> None:
        import jax
        import jax.numpy as jnp

        self.jax, self.jnp = jax, jnp
        act = jnp.tanh if workload.activation == "tanh" else jax.nn.relu
        parameters = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), workload.weights())
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        self.state = (parameters, zeros, jax.tree.map(jnp.copy, zeros), jnp.zeros((), jnp.int32))
        self.key = jax.random.key(0)
        shape = (workload.batch, workload.latent)

        def mlp(h, layers):
            for weight, bias in layers[:-1]:
                h = act(h @ weight + bias)
            return h @ layers[-1][0] + layers[-1][1]

        def loss_of(parameters, x, noise):
            mean, log_var = jnp.split(mlp(x, parameters[0]), 2, axis=1)
            logits = mlp(mean + jnp.exp(0.5 * log_var) * noise, parameters[1])
            nll = jnp.sum(jax.nn.softplus(logits) - x * logits)
            return (nll - 0.5 * jnp.sum(1 + log_var - mean**2 - jnp.exp(log_var))) / len(x)

        def update(state, x, noise):
            parameters, m, v, t = state
            loss, g = jax.value_and_grad(loss_of)(parameters, x, noise)
            t = t + 1
            m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, g)
            v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, g)
            c1, c2 = 1 - BETA1**t, 1 - BETA2**t
            parameters = jax.tree.map(lambda p, m, v: p - LEARNING_RATE * (m / c1) / (jnp.sqrt(v / c2) + EPS), parameters, m, v)
            return (parameters, m, v, t), loss

        def fresh(state, key, x):
            key, now = jax.random.split(key)
            state, loss = update(state, x, jax.random.normal(now, shape))
            return state, key, loss

        self.given = jax.jit(update, donate_argnums=0)
        self.fresh = jax.jit(fresh, donate_argnums=(0, 1))

    def prepare(self, x):
        return self.jnp.asarray(x)

    def step(self, x, noise=None):
        if noise is None:
            self.state, self.key, loss = self.fresh(self.state, self.key, x)
        else:
            self.state, loss = self.given(self.state, x, noise)
        return loss


class HipsAutograd:
    """HIPS autograd: the same equations on wrapped NumPy, Adam per parameter."""

    package = "autograd"

    def __init__(self, workload: Workload) -> None:
        import autograd.numpy as anp
        from autograd import value_and_grad

        act = anp.tanh if workload.activation == "tanh" else (lambda a: anp.maximum(a, 0))
        self.layers = [layer for part in workload.weights() for layer in part]
        self.parameters = [array.astype(np.float32) for layer in self.layers for array in layer]
        self.m, self.v = ([np.zeros_like(p) for p in self.parameters] for _ in range(2))
        self.t, self.rng = 0, np.random.default_rng(0)
        depth, k = len(workload.encoder_sizes) - 1, workload.latent
        self.noise_shape = (workload.batch, k)

        def mlp(h, arrays):
            for i in range(0, len(arrays) - 2, 2):
                h = act(anp.dot(h, arrays[i]) + arrays[i + 1])
            return anp.dot(h, arrays[-2]) + arrays[-1]

        def loss_of(parameters, x, noise):
            heads = mlp(x, parameters[: 2 * depth])
            mean, log_var = heads[:, :k], heads[:, k:]
            logits = mlp(mean + anp.exp(0.5 * log_var) * noise, parameters[2 * depth :])
            nll = anp.sum(anp.logaddexp(0, logits) - x * logits)
            return (nll - 0.5 * anp.sum(1 + log_var - mean**2 - anp.exp(log_var))) / len(x)

        self.value_and_grad = value_and_grad(loss_of)

    def prepare(self, x):
        return x

    def step(self, x, noise=None):
        noise = self.rng.standard_normal(self.noise_shape, dtype=np.float32) if noise is None else noise
        loss, gradients = self.value_and_grad(self.parameters, x, noise)
        self.t += 1
        for p, g, m, v in zip(self.parameters, gradients, self.m, self.v):
            m += (1 - BETA1) * (g - m)
            v += (1 - BETA2) * (g * g - v)
            p -= LEARNING_RATE * (m / (1 - BETA1**self.t)) / (np.sqrt(v / (1 - BETA2**self.t)) + EPS)
        return loss


class GemmFloor:
    """No training: only the matrix products of a step, in NumPy, on normal data, each into memory allocated beforehand."""

    package = "numpy"

    def __init__(self, workload: Workload) -> None:
        from minivae.ops.dense import FEW_ROWS

        rng = np.random.default_rng(0)

        def normal(*shape):
            return rng.standard_normal(shape, dtype=np.float32)

        self.products = []  # left, right, and where it goes
        for sizes in (workload.encoder_sizes, workload.decoder_sizes):
            for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
                x, weight, g = normal(workload.batch, n_in), normal(n_in, n_out), normal(workload.batch, n_out)
                self.products += [(x, weight, np.empty_like(g)), (x.T, g, np.empty_like(weight))]
                if i or sizes is workload.decoder_sizes:
                    few = workload.batch < FEW_ROWS  # as the op does
                    self.products.append((weight, g.T, np.empty_like(x.T, order="C")) if few else (g, weight.T, np.empty_like(x)))

    def prepare(self, x):
        return x

    def step(self, x, noise=None):
        for left, right, out in self.products:
            np.matmul(left, right, out=out)


CONTENDERS = {
    "minivae": Minivae,
    "torch eager": TorchEager,
    "torch eager, fused Adam": TorchFused,
    "torch.compile, fused Adam": TorchCompile,
    "JAX jit": JaxJit,
    "HIPS autograd": HipsAutograd,
    "GEMMs alone": GemmFloor,
}
