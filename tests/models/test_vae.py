"""The VAE's objective, against plain NumPy and finite differences, and its bounds on log p(x)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.helpers import Noise, blank_vae, near_copies, plain_kl, plain_network, plain_nll
from support.small_vae import SMALL, D, K, X, noise

import minivae as mv
from minivae.autodiff import backward
from minivae.models.likelihoods import LIKELIHOODS


@pytest.mark.slow
@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_loss_is_a_sum_over_pixels_and_latents_averaged_over_the_batch_once(small, beta):  # (M.4), (M.5)
    epsilon = noise(53, K)
    mean, log_var = np.split(plain_network(small, "encoder", X.astype(np.float64)), 2, axis=1)
    outputs = plain_network(small, "decoder", mean + np.exp(log_var / 2) * epsilon)
    reconstruction, kl = plain_nll(small, X.astype(np.float64), outputs), plain_kl(mean, log_var)
    terms = small.terms(X, Noise(epsilon))
    # a sum of 7 terms from a float32 network of three layers: some tens of roundings of 6e-8
    np.testing.assert_allclose(terms["reconstruction"].data, reconstruction, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(terms["kl"].data, kl, rtol=1e-5, atol=1e-5)
    weighted = mv.VAE(**SMALL, beta=beta)
    assert weighted.loss(terms).item() == pytest.approx((reconstruction + beta * kl).mean(), rel=1e-5)


@pytest.mark.parametrize("kind", [mv.VAE, mv.ConditionalVAE])
def test_several_samples_are_averaged_before_the_loss(kind):
    """(M.3)'s mean over q by 5 draws, against the five objectives of one draw each."""
    y = np.arange(53) % 4
    one, five = (kind(**SMALL, dtype="float64", epochs=1, batch_size=53, n_samples=s).fit(X, y) for s in (1, 5))
    five.parameters_.values[...] = one.parameters_.values
    draws, condition = noise(5, 53, K), one.encode_condition(y, 53)
    x = X.astype(np.float64)
    terms = five.terms(x, Noise(draws), condition)
    apart = [one.terms(x, Noise(draw), condition) for draw in draws]
    for name in ("reconstruction", "kl"):
        np.testing.assert_allclose(terms[name].data, np.mean([each[name].data for each in apart], axis=0), rtol=1e-12)
    backward(five.loss(terms), leaves=five.parameters_.parameters.values())
    gradients = []
    for each in apart:
        backward(one.loss(each), leaves=one.parameters_.parameters.values())
        gradients.append(one.parameters_.gradients.copy())
    np.testing.assert_allclose(five.parameters_.gradients, np.mean(gradients, axis=0), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 53])
def test_loss_does_not_depend_on_the_batch_size(n):
    x, epsilon = np.repeat(X[:1], n, axis=0).astype(np.float64), np.full(K, 0.7)
    vae = blank_vae(X.astype(np.float64), **SMALL, beta=3.0)
    one = vae.loss(vae.terms(x[:1], Noise(epsilon))).item()
    assert vae.loss(vae.terms(x, Noise(epsilon))).item() == pytest.approx(one, rel=1e-12)


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_gradient_of_the_objective_against_finite_differences(likelihood, beta):
    """Each parameter on its own, in two random directions, by the central difference of fourth order with fixed noise."""
    x, epsilon = X[:11].astype(np.float64), noise(11, K)
    options = {"likelihood": likelihood, "beta": beta, "activation": "tanh", "variance": 0.3, "variance_floor": 0.2}
    vae = blank_vae(x, **SMALL | options)
    vector = vae.parameters_
    vector.values += 0.3 * noise(vector.values.size, seed=2)

    def loss():
        return vae.loss(vae.terms(x, Noise(epsilon)))

    backward(loss(), leaves=vector.parameters.values())
    rng = np.random.default_rng(3)
    for name, parameter in vector.parameters.items():
        origin, gradient = parameter.data.copy(), parameter.grad.copy()
        size = np.linalg.norm(gradient)
        assert size > 1e-3, name  # otherwise the comparison could not fail
        for _ in range(2):
            direction = rng.standard_normal(parameter.shape)
            direction = np.asarray(direction / np.linalg.norm(direction))
            h, values = 1e-3, {}
            for step in (-2, -1, 1, 2):
                parameter.data[...] = origin + step * h * direction
                values[step] = loss().item()
            parameter.data[...] = origin
            numeric = (8 * (values[1] - values[-1]) - (values[2] - values[-2])) / (12 * h)
            # truncation h⁴ f⁽⁵⁾/30 and rounding 1e-16 · 10/h are both of the order of 1e-12
            assert (gradient * direction).sum() == pytest.approx(numeric, abs=1e-8 * size), name


OBSTACLES = {
    "likelihood='gaussian_fixed'": {"likelihood": "gaussian_fixed"},
    "posterior_variance='softplus'": {"posterior_variance": "softplus"},
    "free_bits=0.1": {"free_bits": 0.1},
    "capacity=2.0": {"capacity": 2.0},
    "n_samples=3": {"n_samples": 3},
    "activation='elu'": {"activation": "elu"},
    "3 hidden layers": {"hidden_dims": (5, 4, 3)},
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_a_model_names_the_setting_for_which_it_cannot_train_in_one_launch(obstacle):
    assert blank_vae(X, **SMALL).whole_obstacle() == ""
    assert blank_vae(X, **SMALL | OBSTACLES[obstacle]).whole_obstacle().startswith(obstacle)


def test_the_capacity_rises_with_the_epochs():
    """loss = reconstruction + β |KL − C|, with C up to 20 nats over four epochs."""
    x = X.astype(np.float64)
    vae = blank_vae(x, **SMALL, beta=3.0, capacity=20.0, warm_up_epochs=4)
    terms = vae.terms(x, Noise(noise(53, K)))
    reconstruction, kl = (terms[name].data.mean() for name in ("reconstruction", "kl"))
    for epochs, capacity in ((0, 0), (1, 5), (4, 20), (9, 20)):
        assert vae.loss(terms, epochs).item() == pytest.approx(reconstruction + 3 * abs(kl - capacity), rel=1e-12)


def test_with_free_bits_the_weight_of_the_divergence_rises_with_the_epochs():
    """loss = reconstruction + β Σ_j max(λ, mean_i KL_ij), with β up to 3 over four epochs."""
    x = X.astype(np.float64)
    vae = blank_vae(x, **SMALL, beta=3.0, free_bits=0.1, warm_up_epochs=4)
    vae.parameters_.values += 0.3 * noise(vae.parameters_.values.size)
    mean, log_var = vae.encode(x)
    each = np.array([plain_kl(mean[:, j : j + 1], log_var[:, j : j + 1]).mean() for j in range(K)])
    terms = vae.terms(x, Noise(noise(53, K)))
    for epochs, beta in ((1, 0.75), (4, 3)):
        expected = terms["reconstruction"].data.mean() + beta * np.maximum(each, 0.1).sum()
        assert vae.loss(terms, epochs).item() == pytest.approx(expected, rel=1e-9)


def test_beta_in_training_is_beta_in_validation():
    """At a vanishing learning rate both see the same model: the loss exceeds the reconstruction by β KL in either."""
    vae = mv.VAE(**SMALL, epochs=2, batch_size=53, beta=2.5, learning_rate=1e-300, dtype="float64").fit(X, x_test=X)
    record = vae.history_
    for part in ("train", "test"):
        excess = np.array(record[f"{part}_loss"]) - record[f"{part}_reconstruction"]
        np.testing.assert_allclose(excess, 2.5 * np.array(record[f"{part}_kl"]), rtol=1e-9)
    np.testing.assert_allclose(record["train_kl"], record["test_kl"], rtol=1e-12)


@pytest.mark.slow
@pytest.mark.trained
def test_beta_trades_reconstruction_for_divergence():  # (M.5)
    fits = [mv.VAE(**SMALL, epochs=60, batch_size=53, learning_rate=1e-2, beta=beta).fit(X) for beta in (0.0, 0.3, 1.0, 20.0)]
    kl = [vae.history_["train_kl"][-1] for vae in fits]
    assert kl[0] > kl[1] > kl[2] > kl[3]
    assert kl[3] < 0.01


@pytest.mark.slow
@pytest.mark.trained
def test_learned_variance_reaches_the_mean_squared_error():
    """L.4: at the optimum σ² is the mean squared error of the sampled reconstructions."""
    vae = mv.VAE(latent_dim=2, hidden_dims=(), likelihood="gaussian_shared", batch_size=53, epochs=1500, device="cpu")
    vae.fit(X, on_epoch=lambda trainer: setattr(trainer.optimizer, "learning_rate", 2e-2 * (1 - trainer.epoch / 1500)))
    copies = np.repeat(X, 400, axis=0)
    error = ((vae.reconstruct(copies, temperature=1.0) - copies) ** 2).mean()
    variance = np.exp(float(vae.parameters_.parameters["likelihood.log_var"].data))
    assert variance < 0.5 * X.var()
    assert variance == pytest.approx(error, rel=0.05)  # 1.3 % off from one of four seeds


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_output_bias_from_the_data_begins_at_their_mean(likelihood):
    x = X * np.linspace(0.1, 1, D).astype(np.float32)
    vae = blank_vae(x, **SMALL, likelihood=likelihood, output_bias="data")
    vae.decoder_.layers[-1].weight.data[...] = 0
    np.testing.assert_allclose(vae.decode(np.zeros((1, K)))[0], x.mean(axis=0, dtype=np.float64), rtol=1e-6)
    zeros = blank_vae(x, **SMALL, likelihood=likelihood, output_bias="zeros")
    np.testing.assert_allclose(zeros.parameters_.parameters["decoder.2.bias"].data, 0, atol=1e-290)


# -- bounds ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_elbo_never_exceeds_the_log_likelihood_beyond_the_standard_error(small):
    """Both are averages over the rows; 64 draws per row make the ELBO's own noise visible, and small."""
    draws = np.stack([small.elbo(X, seed=seed) for seed in range(64)])
    elbo, elbo_error = draws.mean(axis=0), draws.std(axis=0, ddof=1) / 8
    estimate = small.importance_estimate(X, 2000)
    error = np.hypot(elbo_error, estimate.standard_error)
    assert (elbo - estimate.log_likelihood < 5 * error).all()
    assert elbo.mean() - estimate.log_likelihood.mean() < 3 * np.sqrt((error**2).sum()) / 53


@pytest.mark.slow
def test_more_importance_samples_never_lower_the_bound_beyond_its_standard_error(small):
    copies = near_copies(X, 50)
    means, errors = [], []
    for n_samples in (1, 5, 50, 500):
        bound = small.log_likelihood(copies, n_samples).reshape(53, 50)
        means.append(bound.mean())
        errors.append(np.sqrt((bound.var(axis=1, ddof=1) / 50).sum()) / 53)
    for i in range(3):
        assert means[i + 1] - means[i] > -3 * math.hypot(errors[i], errors[i + 1])
    assert means[3] - means[0] > 3 * math.hypot(errors[0], errors[3])  # and altogether they raise it


def test_elbo_is_sampled_and_averages_over_samples(small):
    assert (small.elbo(X) != small.elbo(X, seed=9)).all()
    np.testing.assert_array_equal(small.elbo(X), small.elbo(X))
    copies = near_copies(X[:1], 2000)
    one, ten = small.elbo(copies), small.elbo(copies, n_samples=10)
    assert abs(one.mean() - ten.mean()) < 4 * math.hypot(one.std(), ten.std()) / math.sqrt(2000)
    assert ten.std() / one.std() == pytest.approx(1 / math.sqrt(10), rel=0.25)  # rare large values make it rough
    assert len(np.unique(one)) > 1900  # each row has noise of its own
    assert np.ptp(small.elbo(np.repeat(X[:1], 2000, axis=0))) < 1e-4 * one.std()  # which depends on nothing else


@pytest.mark.parametrize("n_samples", [1, 3])
def test_elbo_is_the_negative_loss_of_the_same_noise(n_samples):  # (M.4)
    vae = mv.VAE(**SMALL, epochs=3, batch_size=20, dtype="float64", n_samples=n_samples).fit(X, x_test=X)
    assert vae.elbo(X, n_samples).mean() == pytest.approx(vae.history_["test_elbo"][-1], rel=1e-12)


def test_scores_are_the_log_likelihood(small):
    scores = small.score_samples(X)
    np.testing.assert_array_equal(scores, small.log_likelihood(X, 100))
    np.testing.assert_array_equal(small.anomaly_score(X), -scores)
    assert small.score(X) == pytest.approx(scores.mean())
    assert type(small.score(X)) is float


def test_importance_estimate_says_how_far_to_trust_it(small):
    estimate = small.importance_estimate(X, 300, seed=3)
    again = small.importance_estimate(X, 300, seed=4)
    assert estimate.n_samples == 300
    for array in estimate[:3]:
        assert array.shape == (53,)
        assert array.dtype == np.float64
    assert (estimate.effective_sample_size >= 1).all()
    assert (estimate.effective_sample_size <= 300).all()
    z = (estimate.log_likelihood - again.log_likelihood) / np.hypot(estimate.standard_error, again.standard_error)
    assert 0.7 < np.sqrt((z**2).mean()) < 1.3  # 53 standard normals: their root mean square is known to 10 %
