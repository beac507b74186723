"""The planar flow and its VAE: a density that integrates to one, a divergence that is what it says, and a tighter bound."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats
from support.family import D, K, X, Y, blank, objective, parameters
from support.helpers import complaint, plain_network, plain_nll

import minivae as mv
from minivae.autodiff import Tensor, backward
from minivae.checks import InputError
from minivae.models.flow import planar_flow
from minivae.models.likelihoods import LIKELIHOODS
from minivae.ops import kl_standard_normal, mean, planar_log_det, reparameterize, square, sum_
from minivae.optim import Adam
from minivae.proof.gradcheck import gradcheck


def steps_of(seed: int, n: int, k: int, count: int = 3, scale: float = 1.0) -> list[tuple[Tensor, Tensor, Tensor]]:
    rng = np.random.default_rng(seed)
    return [tuple(Tensor(scale * rng.standard_normal(shape)) for shape in ((n, k), (n, k), (n,))) for _ in range(count)]


def constrained(u: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return û of one step."""
    inner = w @ u
    return u + (np.log1p((np.e - 1) * np.exp(inner)) - 1 - inner) * w / (w @ w + 1e-6)


def plain_flow(z: np.ndarray, steps: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, float]:
    """Return what the flow makes of one point (k,), and log |det| from the determinant of the product of whole Jacobians."""
    jacobian = np.eye(len(z))
    for u, w, b in steps:
        u_hat = constrained(u, w)
        a = w @ z + b
        jacobian = (np.eye(len(z)) + np.outer(u_hat, w) / np.cosh(a) ** 2) @ jacobian
        z = z + u_hat * np.tanh(a)
    return z, np.linalg.slogdet(jacobian)[1]


def undone(z: np.ndarray, steps: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the points (n, k) that the flow takes to z (n, k), by bisection of one number for each step and point."""
    for u, w, b in reversed(steps):
        u_hat = constrained(u, w)
        inner = w @ u_hat
        target = z @ w
        low, high = target - abs(inner), target + abs(inner)
        for _ in range(60):
            middle = (low + high) / 2
            below = middle + inner * np.tanh(middle + b) < target
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        z = z - u_hat * np.tanh(low + b)[:, None]
    return z


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_density_integrates_to_one(seed):
    """(F.3): q_K(z) = q_0(f⁻¹(z)) / |det|, by quadrature over the plane: a wrong sign in the determinant is seen here."""
    steps = [tuple(part.data[0] for part in step) for step in steps_of(seed, 1, 2)]
    grid, width = np.linspace(-12, 12, 401, retstep=True)
    points = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    starts = undone(points, steps)
    there, log_det = planar_flow(Tensor(starts), [tuple(Tensor(np.asarray(part)[None]) for part in step) for step in steps])
    np.testing.assert_allclose(there.data, points, atol=1e-9)
    density = np.exp(stats.norm.logpdf(starts).sum(axis=1) - log_det.data)
    assert density.sum() * width**2 == pytest.approx(1, abs=1e-3)
    for row in range(0, len(points), 40_000):
        assert log_det.data[row] == pytest.approx(plain_flow(starts[row], steps)[1], abs=1e-9)


def test_every_step_can_be_undone():
    """û keeps wᵀû above −1 for whatever the encoder puts out, so that no two points are taken to one."""
    rng = np.random.default_rng(0)
    u, w = 4 * rng.standard_normal((200, 5)), 2 * rng.standard_normal((200, 5))
    z = rng.standard_normal((200, 5))
    there, log_det = planar_flow(Tensor(z), [(Tensor(u), Tensor(w), Tensor(np.zeros(200)))])
    assert np.isfinite(log_det.data).all()
    for row in range(200):
        back = undone(there.data[row : row + 1], [(u[row], w[row], np.zeros(()))])
        np.testing.assert_allclose(back[0], z[row], atol=1e-7)


def heads(model: mv.FlowVAE, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]]]:
    """Return mean, log-variance and, for each row, the steps, from the encoder in plain NumPy."""
    out = plain_network(model, "encoder", x)
    rows = [[(r[at : at + K], r[at + K : at + 2 * K], r[at + 2 * K]) for at in range(2 * K, len(r), 2 * K + 1)] for r in out]
    return out[:, :K], out[:, K : 2 * K], rows


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_terms_are_those_of_the_bent_posterior(likelihood):
    """(F.4): reconstruction + KL is −log p(x, z_K) + log q_K(z_K) at each sample, but for K.1's integral in place of its sample."""
    model = blank(mv.FlowVAE, likelihood=likelihood, variance=0.3, n_samples=2)
    terms = model.terms(X, np.random.default_rng(2))
    noise = np.random.default_rng(2).standard_normal((2, len(X), K))
    mu, log_var, steps = heads(model, X)
    assert {len(row) for row in steps} == {model.n_flows}
    nll, kl = np.zeros(len(X)), np.zeros(len(X))
    for sample in noise:
        z = mu + np.exp(log_var / 2) * sample
        moved = [plain_flow(*row) for row in zip(z, steps)]
        there, log_det = np.stack([m[0] for m in moved]), np.array([m[1] for m in moved])
        nll += plain_nll(model, X, plain_network(model, "decoder", there)) / 2
        kl += (stats.norm.logpdf(z) - stats.norm.logpdf(there)).sum(axis=1) / 2 - log_det / 2
    kl += 0.5 * (mu**2 + np.exp(log_var) - 1 - log_var).sum(axis=1)
    np.testing.assert_allclose(terms["reconstruction"].data, nll, rtol=1e-9)
    np.testing.assert_allclose(terms["kl"].data, kl, rtol=1e-8, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_gradient_of_the_objective(likelihood):
    model = blank(mv.FlowVAE, likelihood=likelihood, variance=0.3, variance_floor=0.2, n_flows=2, beta=3.0)
    gradcheck(objective(model), parameters(model))


@pytest.mark.slow
def test_bounds_and_uses_of_a_model_with_a_flow():
    model = blank(mv.FlowVAE, latent_dim=K)
    estimate = model.importance_estimate(X, n_samples=4000)
    elbo = model.elbo(X, n_samples=500)
    assert (elbo.mean() < estimate.log_likelihood.mean()).all()
    mu, log_var, steps = heads(model, X)
    there = np.stack([plain_flow(*row)[0] for row in zip(mu, steps)])
    np.testing.assert_allclose(model.transform(X), there, atol=1e-9)
    np.testing.assert_allclose(model.encode(X)[1], log_var, atol=1e-9)
    np.testing.assert_allclose(model.reconstruct(X), model.decode(there), atol=1e-9)
    assert model.reconstruct(X, temperature=1.0).shape == (len(X), D)
    assert np.abs(model.reconstruct(X, temperature=1.0) - model.decode(there)).max() > 1e-3


def test_a_temperature_scales_the_noise_before_the_flow():
    """(G.2) of the Gaussian, and then F.1."""
    model = blank(mv.FlowVAE)
    mu, log_var, steps = heads(model, X)
    z = mu + 0.7 * np.exp(log_var / 2) * model._generator("sample", 4).standard_normal(mu.shape)
    there = np.stack([plain_flow(*row)[0] for row in zip(z, steps)])
    np.testing.assert_allclose(model.reconstruct(X, 0.7, seed=4), model.decode(there), rtol=1e-9)


def test_importance_weights_agree_with_quadrature():
    """With two latents log p(x) is an integral over the plane that a grid can do, whatever the posterior looks like."""
    settings = {"latent_dim": 2, "hidden_dims": (11,), "activation": "tanh", "dtype": "float64", "device": "cpu"}
    model, x = mv.FlowVAE(**settings, epochs=150, batch_size=29, learning_rate=0.01).fit(X), X[:4]
    grid, width = np.linspace(-6, 6, 121, retstep=True)
    z = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    outputs = plain_network(model, "decoder", z)
    joint = np.stack([-plain_nll(model, row, outputs) + stats.norm.logpdf(z).sum(axis=1) for row in x])
    exact = special.logsumexp(joint, axis=1) + 2 * math.log(width)
    estimate = model.importance_estimate(x, n_samples=5000)
    assert (np.abs(estimate.log_likelihood - exact) < 5 * estimate.standard_error + 1e-3).all()


@pytest.mark.slow
def test_the_bound_tightens_on_a_bent_posterior():
    """A posterior like a banana, with log p(x) by quadrature: the flow closes a good part of the gap that the Gaussian leaves."""
    x, spread = 1.0, 0.3

    def log_joint(z0, z1, square):  # z ~ N(0, I), x = z_1 + z_0² + noise
        return -0.5 * (square(z0) + square(z1) + square((x - z1 - square(z0)) / spread)) - math.log((2 * math.pi) ** 1.5 * spread)

    grid, width = np.linspace(-7, 7, 1401, retstep=True)
    exact = special.logsumexp(log_joint(*np.meshgrid(grid, grid), np.square)) + 2 * math.log(width)
    gaps = []
    for count in (0, 8):
        rng = np.random.default_rng(0)
        start = rng.standard_normal(4 + 5 * count) * 0.3
        theta = Tensor(start, requires_grad=True)
        optimizer = Adam(start.size, np, "float64", learning_rate=0.02)

        def bound(noise, theta=theta, count=count):
            q_mean, q_log_var = theta[None, :2], theta[None, 2:4]
            steps = [(theta[None, i : i + 2], theta[None, i + 2 : i + 4], theta[i + 4 : i + 5]) for i in range(4, 4 + 5 * count, 5)]
            z = reparameterize(q_mean, q_log_var, noise)
            there, log_det = planar_flow(z, steps)
            log_prior = -0.5 * sum_(square(z), axis=-1) - math.log(2 * math.pi)
            return log_joint(there[:, 0], there[:, 1], square) - log_prior + log_det - kl_standard_normal(q_mean, q_log_var)

        for step in range(800):
            optimizer.learning_rate = 0.02 * (1 - step / 800)
            backward(mean(bound(rng.standard_normal((200, 2)))), np.asarray(-1.0))
            optimizer.step(theta.data, theta.grad)
        gaps.append(exact - bound(rng.standard_normal((100_000, 2))).data.mean())
    gaussian, bent = gaps
    assert gaussian > 0.3
    assert -0.01 < bent < 0.5 * gaussian


def test_what_a_flow_cannot_have_is_refused():
    message = complaint(InputError, mv.FlowVAE(free_bits=0.5).fit, X, Y)
    assert message.startswith("free_bits: expected 0 where the posterior has a flow, got 0.5")
    assert "n_flows" in complaint(InputError, mv.FlowVAE(n_flows=0).fit, X)


def test_a_step_that_turns_space_over_has_a_volume_too():
    """(F.2) has an absolute value: with uᵀw < −1 the determinant is negative, and its logarithm is that of its size."""
    z, u, w, b = np.array([[0.3, -0.2], [0.1, 0.4]]), np.array([2.0, 1.0]), np.array([-2.5, 0.5]), np.asarray(0.1)
    slope = 1 / np.cosh(z @ w + b) ** 2
    sign, expected = np.linalg.slogdet(np.eye(2) + slope[:, None, None] * np.outer(u, w))
    assert (sign == -1).all()
    np.testing.assert_allclose(planar_log_det(z, u, w, b).data, expected, rtol=1e-12)
    gradcheck(planar_log_det, {"z": z, "u": u, "w": w, "b": b})
