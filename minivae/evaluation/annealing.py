"""A certificate for log p(x): two stochastic bounds, one from below and one from above, that close in on it from both sides.

An importance-weighted estimate (M.6) is too low by an unknown amount.  Bidirectional Monte Carlo (Grosse, Ghahramani & Adams 2015)
encloses log p(x) instead.  It needs an exact draw from the posterior.  For data sampled from the model itself there is one: the z
from which x was decoded.

(M.7)  f_t(z) = p(z) p(x|z)^β_t,   0 = β_0 < β_1 < … < β_T = 1,   w = Π_t p(x|z_{t−1})^(β_t − β_{t−1}),
       z_0 ~ p(z),   z_t ~ a step that leaves f_t invariant:        E[w] = p(x)
(M.8)  the same chain backwards, from z_T ~ p(z|x) to z_0:           E[1/w] = 1/p(x)

Why: forwards, w is p(x) times the ratio of two densities of (z_0 … z_T): under the chain that starts at the posterior and runs the
steps in reverse, and under the chain that is actually run.  Its mean under the first chain is therefore p(x) (annealed importance
sampling, Neal 2001), and the mean of its reciprocal under the second is 1/p(x).  The logarithm is concave, so by Jensen's
inequality

    E[log (1/c) Σ w]  ≤  log p(x)  ≤  E[−log (1/c) Σ 1/w]        over c chains,

and the gap between the two, in nats, bounds the error of either.  It shrinks as T grows.

The steps are Hamiltonian Monte Carlo (Neal 2011): leapfrog along the gradient of −log f_t, then accept or reject.  Each step's size
is found beforehand in a separate run and then kept, because a step that adapts to its own chain no longer leaves f_t invariant.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from minivae.autodiff import Tensor, backward
from minivae.backend import Array, standard_normal
from minivae.ops import sum_

LEAPFROGS = 10  # per step
TARGET_ACCEPTANCE = 0.65  # where Hamiltonian Monte Carlo is most efficient (Beskos et al. 2013)
SHARPNESS = 4.0  # of the schedule of β, which rises slowly near 0 and near 1, where the distributions change most

Nll = Callable[[Tensor], Tensor]


class Certificate(NamedTuple):
    """Bounds on log p(x) for examples sampled from the model, each (n,) in nats.

    Attributes
    ----------
    lower, upper : stochastic bounds: each holds on average, not for every example.
    acceptance : the share of the forward chains' steps that were accepted, a number; far from 0.65 the gap says more about the
        chains than about the model.
    """

    lower: Array
    upper: Array
    acceptance: float


def schedule(n_steps: int) -> list[float]:
    """Return β_0 = 0 … β_T = 1: a logistic curve, stretched to start and end exactly there (Wu et al. 2017)."""
    curve = [1 / (1 + math.exp(-SHARPNESS * (2 * t / n_steps - 1))) for t in range(n_steps + 1)]
    return [(c - curve[0]) / (curve[-1] - curve[0]) for c in curve]


def bidirectional(xp: ModuleType, nll: Nll, z: Array, n_chains: int, n_steps: int, rng: Any) -> Certificate:
    """Return bounds on log p(x) of n examples, given for each the latent vector from which it was sampled.

    Parameters
    ----------
    nll : ``nll(z)``, −log p(x|z) in nats, a (c, n) tensor for a (c, n, k) one.
    z : (n, k), exact draws from the posteriors p(z|x).
    n_chains, n_steps : c chains for each example and direction, T temperatures in each; time grows with both, the gap shrinks.
    rng : source of standard normals and uniforms.
    """
    betas = schedule(n_steps)
    shape = (n_chains, *z.shape)
    sizes = _step_sizes(xp, nll, standard_normal(rng, shape, z.dtype), betas, rng)
    log_w, accepted = _chain(xp, nll, standard_normal(rng, shape, z.dtype), betas, sizes, rng)
    back_log_w, _ = _chain(xp, nll, xp.broadcast_to(z, shape), betas, sizes, rng, backwards=True)
    return Certificate(_log_mean_exp(xp, log_w), -_log_mean_exp(xp, -back_log_w), accepted)  # (M.7), (M.8)


def _chain(
    xp: ModuleType, nll: Nll, z: Array, betas: list[float], sizes: list[float], rng: Any, backwards: bool = False
) -> tuple[Array, float]:
    """Return log w (c, n) of chains from z (c, n, k), and the share of steps that were accepted."""
    log_w, accepted = xp.zeros(z.shape[:2]), 0.0
    times = range(1, len(betas))
    for t in reversed(times) if backwards else times:
        if backwards:
            z, share = _hamiltonian_step(xp, nll, z, betas[t], sizes[t], rng)
        log_w -= (betas[t] - betas[t - 1]) * nll(Tensor(z)).data  # log p(x|z)^(β_t − β_{t−1})
        if not backwards:
            z, share = _hamiltonian_step(xp, nll, z, betas[t], sizes[t], rng)
        accepted += share / len(times)
    return log_w, accepted


def _step_sizes(xp: ModuleType, nll: Nll, z: Array, betas: list[float], rng: Any) -> list[float]:
    """Return a step size for each temperature, found by a chain that is run for this purpose alone."""
    sizes = [0.1]
    for beta in betas[1:]:
        z, share = _hamiltonian_step(xp, nll, z, beta, sizes[-1], rng)
        sizes.append(sizes[-1] * math.exp(0.1 * (share - TARGET_ACCEPTANCE)))
    return sizes


def _hamiltonian_step(xp: ModuleType, nll: Nll, z: Array, beta: float, size: float, rng: Any) -> tuple[Array, float]:
    """Return z after one step that leaves p(z) p(x|z)^β invariant, and the share of the chains that moved.

    A particle at z with momentum v has the energy ½ |v|² + ½ |z|² + β nll(z), which leapfrog nearly conserves.  By Metropolis'
    rule, the change of energy decides whether the move is accepted.
    """
    v = standard_normal(rng, z.shape, z.dtype)
    potential, slope = _energy(nll, z, beta)
    start = potential + 0.5 * (v * v).sum(axis=-1)
    there = z
    for _ in range(LEAPFROGS):
        v = v - 0.5 * size * slope
        there = there + size * v
        potential, slope = _energy(nll, there, beta)
        v = v - 0.5 * size * slope
    rise = potential + 0.5 * (v * v).sum(axis=-1) - start
    moves = xp.log(rng.random(rise.shape, dtype=z.dtype)) < -rise  # never where the energy is not finite
    return xp.where(moves[..., None], there, z), float(moves.mean())


def _energy(nll: Nll, z: Array, beta: float) -> tuple[Array, Array]:
    """Return −log f(z) up to a constant, (c, n), and its gradient (c, n, k)."""
    leaf = Tensor(z, requires_grad=True)
    cost = nll(leaf)
    backward(sum_(cost))
    slope: Array = leaf.grad
    return 0.5 * (z * z).sum(axis=-1) + beta * cost.data, z + beta * slope


def _log_mean_exp(xp: ModuleType, log_w: Array) -> Array:
    top = log_w.max(axis=0)
    return top + xp.log(xp.exp(log_w - top).mean(axis=0))
