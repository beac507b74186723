"""Models whose answers are known exactly: the linear-Gaussian model, probabilistic PCA, and integrals in one and two dimensions.

With no hidden layers and a Gaussian likelihood of one variance, a VAE is the linear-Gaussian model

    z ~ N(0, I),   x|z ~ N(b + z W, σ² I)      hence      x ~ N(b, Wᵀ W + σ² I),   z|x ~ N(m, Λ⁻¹)

with Λ = I + W Wᵀ/σ² and m = Λ⁻¹ W (x − b)/σ².  Everything that a VAE bounds or estimates has a closed form there.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.polynomial.hermite_e import hermegauss
from scipy import special, stats
from support.helpers import Noise, blank_vae, near_copies, plain_kl, plain_network, plain_nll

from minivae import VAE
from minivae.autodiff import Tensor, backward
from minivae.ops import reparameterize, sum_

D, K, VARIANCE = 5, 2, 0.4
rng = np.random.default_rng(0)
W, B = rng.standard_normal((K, D)), rng.standard_normal(D)
X = B + rng.standard_normal((11, K)) @ W + math.sqrt(VARIANCE) * rng.standard_normal((11, D))
PRECISION = np.eye(K) + W @ W.T / VARIANCE


def linear_vae(encoder: np.ndarray, encoder_bias: np.ndarray, decoder: np.ndarray = W, bias: np.ndarray = B) -> VAE:
    """Return a float64 VAE with the given weights."""
    vae = blank_vae(X[:, : len(bias)], latent_dim=len(decoder), hidden_dims=(), likelihood="gaussian_fixed", variance=VARIANCE)
    weights = {"encoder.0.weight": encoder, "encoder.0.bias": encoder_bias, "decoder.0.weight": decoder, "decoder.0.bias": bias}
    vae.parameters_.load_state(weights, np)
    return vae


def rough_vae() -> VAE:
    """Return a VAE whose q(z|x) is near the posterior, without its correlations and with a variance that depends on x."""
    noise = np.random.default_rng(1)
    to_mean = W.T @ np.linalg.inv(PRECISION) / VARIANCE + 0.02 * noise.standard_normal((D, K))
    to_log_var = 0.03 * noise.standard_normal((D, K))
    log_var = np.log(1 / np.diag(PRECISION)) + 0.3
    return linear_vae(np.hstack([to_mean, to_log_var]), np.concatenate([-B @ to_mean, log_var]))


def log_p(x: np.ndarray, decoder: np.ndarray = W, bias: np.ndarray = B, variance: float = VARIANCE) -> np.ndarray:
    return stats.multivariate_normal(bias, decoder.T @ decoder + variance * np.eye(len(bias))).logpdf(x)


def posterior(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean (n, k) and covariance (k, k) of z|x."""
    covariance = np.linalg.inv(PRECISION)
    return (x - B) @ W.T @ covariance / VARIANCE, covariance


def exact_elbo(vae: VAE, x: np.ndarray) -> np.ndarray:
    """Return the ELBO, its expectation by quadrature over our own terms: three nodes are exact up to the fifth power of z."""
    nodes, weights = hermegauss(3)
    weights = weights / weights.sum()
    elbo = 0.0
    for a, wa in zip(nodes, weights):
        for b, wb in zip(nodes, weights):
            terms = vae.terms(x, Noise(np.array([a, b])))
            elbo = elbo - wa * wb * (terms["reconstruction"].data + terms["kl"].data)
    return elbo


# -- (a) the linear-Gaussian model --------------------------------------------------------------------------------------


def test_elbo_and_divergence_from_the_posterior_add_up_to_log_p():
    """M.2: log p(x) = ELBO + KL(q(z|x) ‖ p(z|x)), to 1e-10, for a q that is not the posterior."""
    vae = rough_vae()
    m, variance = vae.encode(X)[0], np.exp(vae.encode(X)[1])
    exact_m, covariance = posterior(X)
    r = m - exact_m
    gap = 0.5 * (
        (variance * np.diag(PRECISION)).sum(axis=1)
        + np.einsum("ni,ij,nj->n", r, PRECISION, r)
        - K
        + np.linalg.slogdet(covariance)[1]
        - np.log(variance).sum(axis=1)
    )
    assert gap.min() > 0.01
    np.testing.assert_allclose(exact_elbo(vae, X) + gap, log_p(X), rtol=0, atol=1e-10)


def test_elbo_in_closed_form():  # (M.3)
    """E_q‖x − b − z W‖² = ‖x − b − μ W‖² + Σ_j σ_j² ‖W_j‖²: what the quadrature of our terms has to give."""
    vae = rough_vae()
    m, log_var = vae.encode(X)
    square = ((X - B - m @ W) ** 2).sum(axis=1) + (np.exp(log_var) * (W**2).sum(axis=1)).sum(axis=1)
    expected = -square / (2 * VARIANCE) - D / 2 * np.log(2 * np.pi * VARIANCE) - plain_kl(m, log_var)
    np.testing.assert_allclose(exact_elbo(vae, X), expected, rtol=0, atol=1e-10)


def test_sampled_elbo_has_the_exact_mean():
    """11 rows, 4000 draws each; at the posterior mean it would be too high by ½ Σ_j σ_j² ‖W_j‖²/σ², about one nat."""
    vae = rough_vae()
    draws = vae.elbo(near_copies(X, 4000)).reshape(11, 4000)
    z = (draws.mean(axis=1) - exact_elbo(vae, X)) / (draws.std(axis=1) / math.sqrt(4000))
    assert np.abs(z).max() < 4


def test_ladder_from_the_elbo_to_log_p():  # (M.3), (M.6)
    """ELBO < IW_5 < IW_50 ≤ log p(x), the steps beyond their standard errors."""
    vae, copies = rough_vae(), near_copies(X, 2000)
    rungs = [(exact_elbo(vae, X).mean(), 0.0)]
    for n_samples in (5, 50):
        bound = vae.log_likelihood(copies, n_samples).reshape(11, 2000)
        rungs.append((bound.mean(), math.sqrt((bound.var(axis=1) / 2000).sum()) / 11))
    rungs.append((log_p(X).mean(), 0.0))
    for (low, low_error), (high, high_error) in itertools.pairwise(rungs[:3]):
        assert high - low > 3 * math.hypot(low_error, high_error)
    assert rungs[3][0] - rungs[2][0] > -3 * rungs[2][1]
    gaps = [rungs[3][0] - value for value, _ in rungs[:3]]
    assert gaps[0] > 3 * gaps[1] > 15 * gaps[2]  # the gap of IW_k falls like 1/k once k is large


def test_log_likelihood_is_that_of_the_closed_form():
    x = B + np.random.default_rng(3).multivariate_normal(np.zeros(D), W.T @ W + VARIANCE * np.eye(D), 200)
    estimate = rough_vae().importance_estimate(x, 2000)
    difference = estimate.log_likelihood - log_p(x)
    assert abs(difference.mean()) < 3 * math.sqrt((estimate.standard_error**2).sum()) / 200
    z = difference / estimate.standard_error
    assert np.sqrt((z**2).mean()) == pytest.approx(1, abs=0.2)  # 200 standard normals: known to 5 %
    assert np.median(estimate.standard_error) < 0.05


def orthogonal_vae() -> tuple[VAE, np.ndarray]:
    """Return a VAE whose decoder has orthogonal rows, so that the posterior is diagonal and q can be exactly it."""
    decoder = np.linalg.qr(W.T)[0].T * np.array([[2.0], [0.7]])
    variance = 1 / (1 + (decoder**2).sum(axis=1) / VARIANCE)
    to_mean = decoder.T * variance / VARIANCE
    encoder = np.hstack([to_mean, np.zeros((D, K))])
    return linear_vae(encoder, np.concatenate([-B @ to_mean, np.log(variance)]), decoder), decoder


def test_with_the_exact_posterior_every_weight_is_p_of_x():
    """q = p(z|x): the bound is tight, one sample is enough, and the estimate knows it."""
    vae, decoder = orthogonal_vae()
    expected = log_p(X, decoder)
    np.testing.assert_allclose(exact_elbo(vae, X), expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(vae.log_likelihood(X, 1), expected, rtol=0, atol=1e-10)
    estimate = vae.importance_estimate(X, 100)
    np.testing.assert_allclose(estimate.log_likelihood, expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(estimate.effective_sample_size, 100, rtol=1e-10)
    np.testing.assert_allclose(estimate.standard_error, 0, atol=1e-7)


def test_exact_posterior_is_where_the_gradient_vanishes():
    """For this decoder no encoder does better: the expected gradient of the bound in the encoder's weights is zero there."""
    vae, _ = orthogonal_vae()
    nodes, weights = hermegauss(3)
    gradient = np.zeros_like(vae.parameters_.values)
    for a, wa in zip(nodes, weights):
        for b, wb in zip(nodes, weights):
            backward(vae.loss(vae.terms(X, Noise(np.array([a, b])))), leaves=vae.parameters_.parameters.values())
            gradient += wa * wb / weights.sum() ** 2 * vae.parameters_.gradients
    encoder = sum(vae.parameters_.parameters[f"encoder.0.{part}"].data.size for part in ("weight", "bias"))
    np.testing.assert_allclose(gradient[:encoder], 0, atol=1e-12)
    assert np.abs(gradient[encoder:]).max() > 0.01


def test_samples_have_the_covariance_of_the_model():
    vae, n = rough_vae(), 100_000
    drawn, means = vae.sample(n, 0, "draw"), vae.sample(n, 0)
    for x, covariance in ((drawn, W.T @ W + VARIANCE * np.eye(D)), (means, W.T @ W)):
        error = np.sqrt((np.outer(np.diag(covariance), np.diag(covariance)) + covariance**2) / n)  # of a Gaussian's covariances
        assert (np.abs(np.cov(x.T) - covariance) < 5 * error).all()
        assert (np.abs(x.mean(axis=0) - B) < 5 * np.sqrt(np.diag(covariance) / n)).all()


# -- (b) probabilistic PCA ----------------------------------------------------------------------------------------------

EIGENVALUES = np.array([9.0, 5.0, 2.5, 0.55, 0.4, 0.3, 0.2])


@pytest.fixture(scope="module")
def plane() -> tuple[np.ndarray, np.ndarray]:
    """Return 1000 rows whose covariance has exactly these eigenvalues, and the eigenvectors as columns."""
    noise = np.random.default_rng(5)
    raw = noise.standard_normal((1000, 7))
    white = np.linalg.svd(raw - raw.mean(axis=0), full_matrices=False)[0] * math.sqrt(1000)
    vectors = np.linalg.qr(noise.standard_normal((7, 7)))[0]
    return white * np.sqrt(EIGENVALUES) @ vectors.T + noise.standard_normal(7), vectors


def train(x: np.ndarray, k: int, likelihood: str, epochs: int) -> VAE:
    """Train a linear VAE while the learning rate falls to zero along a cosine."""
    settings = {"latent_dim": k, "hidden_dims": (), "likelihood": likelihood, "output_bias": "data", "dtype": "float64"}
    vae = VAE(**settings, epochs=epochs, batch_size=250, device="cpu")

    def anneal(trainer):
        trainer.optimizer.learning_rate = 0.025 * (1 + math.cos(math.pi * trainer.epoch / epochs))

    return vae.fit(x, on_epoch=anneal)


@pytest.mark.slow
@pytest.mark.trained
def test_trained_linear_vae_is_probabilistic_pca(plane):  # (A.9)
    """The optimum of Tipping & Bishop 1999: W Wᵀ from the leading eigenvectors, scaled to λ − σ², and σ² the mean of the others."""
    x, vectors = plane
    vae = train(x, 3, "gaussian_shared", 700)
    state = vae.parameters_.state()
    decoder, bias, variance = state["decoder.0.weight"], state["decoder.0.bias"], math.exp(state["likelihood.log_var"])
    best = EIGENVALUES[3:].mean()
    optimum = log_p(x, (vectors[:, :3] * np.sqrt(EIGENVALUES[:3] - best)).T, x.mean(axis=0), best).mean()
    reached = log_p(x, decoder, bias, variance).mean()
    assert optimum - 1e-3 * abs(optimum) < reached <= optimum + 1e-9
    cosines = np.linalg.svd(vectors[:, :3].T @ np.linalg.qr(decoder.T)[0], compute_uv=False)
    assert np.degrees(np.arccos(np.minimum(cosines, 1))).max() < 1
    assert variance == pytest.approx(best, rel=0.02)
    # Unlike a linear autoencoder, it finds the axes themselves: q is diagonal, and only along them is the posterior so.
    lengths = np.sort((decoder**2).sum(axis=1))[::-1]
    np.testing.assert_allclose(lengths, EIGENVALUES[:3] - best, rtol=0.05)
    axes = np.abs(decoder @ vectors[:, :3]) / np.linalg.norm(decoder, axis=1, keepdims=True)
    assert axes.max(axis=0).min() > np.cos(np.radians(5))
    estimate = vae.importance_estimate(x, 50)
    assert estimate.log_likelihood.mean() == pytest.approx(reached, abs=5e-3)
    assert np.median(estimate.effective_sample_size) > 45


@pytest.mark.slow
@pytest.mark.trained
def test_dimensions_below_the_noise_are_dropped(plane):
    """With σ² = 1 fixed, three eigenvalues stand out of the noise: three of five latents are used, each by ½ log(λ/σ²) nats."""
    x, _ = plane
    vae = train(x, 5, "gaussian_fixed", 700)
    kl = np.sort(vae.history_["kl_per_dimension"][-1])[::-1]
    np.testing.assert_allclose(kl[:3], 0.5 * np.log(EIGENVALUES[:3]), rtol=0.05)
    assert kl[3:].max() < 0.01
    assert vae.history_["active_units"][-1] == 3
    decoder = vae.parameters_.state()["decoder.0.weight"]
    assert np.sort((decoder**2).sum(axis=1))[:2].max() < 0.01


# -- (c) nonlinear decoders ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("latent_dim", [1, 2])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "gaussian_shared"])
def test_log_likelihood_of_a_nonlinear_decoder_is_the_integral(likelihood, latent_dim):  # (M.1), (M.6)
    """log p(x) = log ∫ N(z; 0, I) p(x|z) dz on a grid.  The trapezoidal rule converges faster than any power on such integrands."""
    noise = np.random.default_rng(6)
    t = noise.uniform(-2, 2, (200, 1))
    x = np.hstack([np.sin(t), t**2 - 1, np.cos(2 * t), t]) + 0.2 * noise.standard_normal((200, 4))
    if likelihood == "bernoulli":
        x = (x > 0).astype(float)
    settings = {"hidden_dims": (16,), "activation": "tanh", "likelihood": likelihood, "variance_floor": 0.02, "dtype": "float64"}
    vae = VAE(latent_dim=latent_dim, **settings, epochs=100, batch_size=50, learning_rate=1e-2, device="cpu").fit(x)
    vae.parameters_.parameters["encoder.1.bias"].data[latent_dim:] += 2  # a q wider than the posterior: no weight can be large
    x = x[:13]

    def integral(points: int) -> np.ndarray:
        axis, step = np.linspace(-8, 8, points, retstep=True)
        z = np.stack(np.meshgrid(*[axis] * latent_dim), axis=-1).reshape(-1, latent_dim)
        prior = stats.norm.logpdf(z).sum(axis=1)[:, None]
        outputs = plain_network(vae, "decoder", z)[:, None]
        return special.logsumexp(prior - plain_nll(vae, x, outputs), axis=0) + latent_dim * np.log(step)

    fine, coarse = (801, 401) if latent_dim == 1 else (241, 161)
    exact = integral(fine)
    np.testing.assert_allclose(integral(coarse), exact, atol=1e-6)
    estimate = vae.importance_estimate(x, 5000)
    z_scores = (estimate.log_likelihood - exact) / estimate.standard_error
    assert np.abs(z_scores).max() < 4
    assert np.median(estimate.standard_error) < 0.03
    draws = vae.elbo(near_copies(x, 500)).reshape(13, 500)
    assert (exact - draws.mean(axis=1) > -4 * draws.std(axis=1) / math.sqrt(500)).all()
    assert (exact - draws.mean(axis=1)).max() > 0.05  # q is not the posterior, so the importance weights had work to do


# -- (d) the sampler ----------------------------------------------------------------------------------------------------

COPIES = 20_000
DRAWS = {
    "training": (lambda vae, x: vae.terms(x, np.random.default_rng(7)), 1.0),
    "elbo": (lambda vae, x: vae.elbo(x), 1.0),
    "importance weights": (lambda vae, x: vae.importance_estimate(x[: COPIES // 10], 10), 1.0),
    "reconstruction": (lambda vae, x: vae.reconstruct(x, temperature=1.0), 1.0),
    "at half the temperature": (lambda vae, x: vae.reconstruct(x, temperature=0.5), 0.5),
    "at thrice the temperature": (lambda vae, x: vae.reconstruct(x, temperature=3.0), 3.0),
    "prior": (lambda vae, x: vae.sample(COPIES), None),
    "prior, drawn pixels": (lambda vae, x: vae.sample(COPIES, pixels="draw"), None),
}


@pytest.mark.parametrize(("draw", "temperature"), DRAWS.values(), ids=DRAWS)
def test_latents_are_distributed_as_claimed(monkeypatch, draw, temperature):  # (R.1), (G.1), (G.2)
    """Mean, variance, correlations and the Kolmogorov–Smirnov distance of the z that reach the decoder, on every way to it."""
    vae, seen = rough_vae(), []
    network = vae.decoder_

    def spy(z):
        seen.append(np.array(z.data if isinstance(z, Tensor) else z))
        return network(z)

    monkeypatch.setattr(vae, "decoder_", spy)
    draw(vae, near_copies(X[:1], COPIES))
    z = np.concatenate(seen)
    assert len(z) == COPIES
    if temperature is None:
        mean, std = np.zeros(K), np.ones(K)
    else:
        mean, std = vae.encode(X[:1])[0][0], temperature * np.exp(0.5 * vae.encode(X[:1])[1][0])
        assert (np.abs(std - 1) > 0.05).all()  # or a variance could pass for a standard deviation
    assert (np.abs(z.mean(axis=0) - mean) < 4.5 * std / math.sqrt(COPIES)).all()
    assert (np.abs(z.var(axis=0) / std**2 - 1) < 4.5 * math.sqrt(2 / COPIES)).all()
    assert np.abs(np.corrcoef(z.T)[0, 1]) < 4.5 / math.sqrt(COPIES)
    assert np.abs(np.corrcoef(z[1:, 0], z[:-1, 0])[0, 1]) < 4.5 / math.sqrt(COPIES)
    for j in range(K):
        assert stats.kstest(z[:, j], stats.norm(mean[j], std[j]).cdf).statistic < 2.0 / math.sqrt(COPIES)  # 7 in 10,000 exceed it


# -- (e) gradient estimators --------------------------------------------------------------------------------------------


def test_reparameterised_gradient_is_exact_on_average_and_beats_the_score_function():
    """∇ E_q[log p(x|z)] in μ and log σ²: in closed form, by R.1 and R.2 through our ops, and as E_q[log p(x|z) ∇ log q(z|x)]."""
    n = 100_000
    vae = rough_vae()
    (m,), (log_var,) = vae.encode(X[:1])
    std = np.exp(0.5 * log_var)
    residual = X[0] - B - m @ W
    exact = np.concatenate([W @ residual / VARIANCE, -0.5 * std**2 * (W**2).sum(axis=1) / VARIANCE])

    noise = np.random.default_rng(8).standard_normal((n, K))
    leaves = [Tensor(np.tile(value, (n, 1)), requires_grad=True) for value in (m, log_var)]
    z = reparameterize(*leaves, noise)
    log_likelihood = -vae.likelihood_.nll(X[0], vae.decoder(z, None))
    backward(sum_(log_likelihood))
    pathwise = np.hstack([leaf.grad for leaf in leaves])
    score = log_likelihood.data[:, None] * np.hstack([noise / std, 0.5 * (noise**2 - 1)])

    print("\nvariance of one sample's gradient   in the means, then in the log-variances")
    for name, samples in (("reparameterised", pathwise), ("score function", score)):
        error = samples.std(axis=0) / math.sqrt(n)
        assert (np.abs(samples.mean(axis=0) - exact) < 4.5 * error).all(), name
        print(f"{name:>35} ", *(f"{variance:10.3f}" for variance in samples.var(axis=0)))
    assert (pathwise.var(axis=0) * 10 < score.var(axis=0)).all()
