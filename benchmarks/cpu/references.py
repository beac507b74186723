"""Every op written as its equation in a textbook.

In float64 the ops must agree with these; in float32 a tuned op must be faster than these.
"""

from __future__ import annotations

import math

import numpy as np

from benchmarks.cpu.workloads import BETA1, BETA2, EPS, LEARNING_RATE


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.logaddexp(0, x)


def dense(x, weight, bias):
    return x @ weight + bias


def concat(*parts):
    return np.concatenate(parts, axis=-1)


def reparameterize(mean, log_var, noise):
    return mean + np.sqrt(np.exp(log_var)) * noise


def reparameterize_variance(mean, raw, noise):
    return mean + np.sqrt(softplus(raw)) * noise


def kl_standard_normal(mean, log_var):
    return 0.5 * (mean**2 + np.exp(log_var) - 1 - log_var).sum(axis=-1)


def kl_normal(mean, log_var, prior_mean, prior_log_var):
    ratio = (np.exp(log_var) + (mean - prior_mean) ** 2) / np.exp(prior_log_var)
    return 0.5 * (ratio - 1 + prior_log_var - log_var).sum(axis=-1)


def bernoulli_nll(x, logits):
    return (np.logaddexp(0, logits) - x * logits).sum(axis=-1)


def bernoulli_nll_slope(x, logits, g):
    return (sigmoid(logits) - x) * g[:, None]


def gaussian_nll(x, mean, log_var):
    return 0.5 * (math.log(2 * math.pi) + log_var + (x - mean) ** 2 / np.exp(log_var)).sum(axis=-1)


def sparsity_kl(logits, target=0.05):
    activity = sigmoid(logits).mean(axis=0)
    return (target * np.log(target / activity) + (1 - target) * np.log((1 - target) / (1 - activity))).sum()


def log_mixture(z, mean, log_var, log_weights):
    densities = -gaussian_nll(z[:, None], mean, log_var) + log_weights  # (n, m)
    top = densities.max(axis=1, keepdims=True)  # the densities of many features underflow
    return top[:, 0] + np.log(np.exp(densities - top).sum(axis=1))


def mmd(x, y, scale):
    def kernel(a, b):
        return np.exp(-((a[:, None] - b) ** 2).sum(axis=-1) / (2 * scale))

    n, m = len(x), len(y)
    within = (kernel(x, x).sum() - n) / (n * (n - 1)) + (kernel(y, y).sum() - m) / (m * (m - 1))
    return within - 2 * kernel(x, y).mean()


def covariance(x):
    centred = x - x.mean(axis=0)
    return centred.T @ centred / len(x)


def planar(z, u, w, b):
    return z + u * np.tanh((z * w).sum(axis=-1) + b)[..., None]


def planar_log_det(z, u, w, b):
    return np.log(np.abs(1 + (1 - np.tanh((z * w).sum(axis=-1) + b) ** 2) * (u * w).sum(axis=-1)))


def gumbel_softmax(logits, noise):
    grown = np.exp(logits + noise)
    return grown / grown.sum(axis=-1, keepdims=True)


def kl_uniform(logits):
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return (p * np.log(p)).sum(axis=-1) + np.log(logits.shape[-1])


REFERENCES = {
    "dense": dense,
    "identity": lambda x: x,
    "relu": lambda x: np.where(x > 0, x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.exp(x) - 1),
    "tanh": lambda x: (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1),
    "sigmoid": sigmoid,
    "softplus": softplus,
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "neg": lambda x: -x,
    "exp": lambda x: np.exp(x),
    "log": lambda x: np.log(x),
    "square": lambda x: x**2,
    "sum": lambda x: x.sum(),
    "mean": lambda x: x.sum() / x.size,
    "logsumexp": lambda x: np.log(np.exp(x).sum(axis=-1)),
    "concat": concat,
    "slice": lambda x, index: x[index],
    "reshape": lambda x, shape: x.reshape(shape),
    "repeat": lambda x, repeats: x[[i for i in range(len(x)) for _ in range(repeats)]],
    "reparameterize": reparameterize,
    "reparameterize_variance": reparameterize_variance,
    "kl_standard_normal": kl_standard_normal,
    "kl_normal": kl_normal,
    "bernoulli_nll": bernoulli_nll,
    "gaussian_nll": gaussian_nll,
    "log_mixture": log_mixture,
    "mmd": mmd,
    "covariance": covariance,
    "planar": planar,
    "planar_log_det": planar_log_det,
    "gumbel_softmax": gumbel_softmax,
    "kl_uniform": kl_uniform,
    "absolute": lambda x: np.where(x > 0, x, -x),
    "sparsity_kl": sparsity_kl,
}


class PlainAdam:
    """Kingma & Ba 2015, algorithm 1, on whole vectors."""

    def __init__(self, size, dtype):
        self.m, self.v, self.t = np.zeros(size, dtype), np.zeros(size, dtype), 0

    def step(self, values, g):
        self.t += 1
        self.m = BETA1 * self.m + (1 - BETA1) * g
        self.v = BETA2 * self.v + (1 - BETA2) * g**2
        m_hat = self.m / (1 - BETA1**self.t)
        v_hat = self.v / (1 - BETA2**self.t)
        values -= LEARNING_RATE * m_hat / (np.sqrt(v_hat) + EPS)
