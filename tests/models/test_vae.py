"""The VAE: its objective against plain NumPy and finite differences, its public face, its bounds, and its files."""

from __future__ import annotations

import itertools
import math
import os
import tracemalloc

import numpy as np
import pytest
from support.helpers import Noise, blank_vae, complaint, near_copies, plain_kl, plain_network, plain_nll, rewritten

import minivae as mv
from minivae.autodiff import backward
from minivae.backend import to_device, to_numpy
from minivae.checks import DataFileError, DeviceError, InputError, NotFittedError
from minivae.models.likelihoods import LIKELIHOODS
from minivae.training.batches import CHUNK_ROWS
from minivae.training.mpi import check_can_be_shared

D, K = 7, 3
rng = np.random.default_rng(0)  # 53 rows that two numbers explain, and some noise
X = 1 / (1 + np.exp(-5 * rng.standard_normal((53, 2)) @ rng.standard_normal((2, D)) - 0.3 * rng.standard_normal((53, D))))
X = X.astype(np.float32)
SMALL = {"latent_dim": K, "hidden_dims": (11, 5), "device": "cpu"}


@pytest.fixture(scope="module", params=LIKELIHOODS)
def small(request) -> mv.VAE:
    """A small trained VAE of each likelihood.  Shared: look, don't touch."""
    options = {"likelihood": request.param, "activation": "tanh", "variance": 0.02, "epochs": 100, "learning_rate": 1e-2}
    return mv.VAE(**SMALL, **options, batch_size=20).fit(X)


def noise(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


# -- the objective ------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("settings", [{"free_bits": 0.5}, {"capacity": 2.0}], ids=lambda settings: next(iter(settings)))
def test_an_objective_of_the_whole_batch_is_not_shared_out_among_processes(settings):
    """The mean of what its parts would be is not what it is."""
    ((name, value),) = settings.items()
    message = complaint(InputError, check_can_be_shared, mv.VAE(**SMALL | settings, batch_size=20, epochs=1).fit(X))
    assert f"{name} = {value}, which looks at a whole batch" in message


ALONE = {
    "": {},
    "likelihood='gaussian_fixed', where it knows 'bernoulli'": {"likelihood": "gaussian_fixed"},
    "posterior_variance='softplus', where it knows 'exp'": {"posterior_variance": "softplus"},
    "free_bits=0.1, where it knows 0": {"free_bits": 0.1},
    "capacity=2.0, where it knows 0": {"capacity": 2.0},
    "n_samples=3, where it knows 1": {"n_samples": 3},
    "activation='elu', where it knows relu and tanh": {"activation": "elu"},
    "3 hidden layers, where it knows one or two": {"hidden_dims": (5, 4, 3)},
}


@pytest.mark.parametrize("reason", ALONE)
def test_a_model_knows_why_its_steps_are_not_made_in_one_launch(reason):
    assert blank_vae(X, **SMALL | ALONE[reason]).whole_obstacle() == reason


def test_a_capacity_and_a_weight_rise_with_the_epochs():
    """loss = reconstruction + β |KL − C|, C rising; with free bits, reconstruction + β Σ_j max(λ, mean_i KL_ij), β rising."""
    x = X.astype(np.float64)
    vae = blank_vae(x, **SMALL, beta=3.0, capacity=20.0, warm_up_epochs=4)
    terms = vae.terms(x, Noise(noise(53, K)))
    reconstruction, kl = (terms[name].data.mean() for name in ("reconstruction", "kl"))
    for epochs, capacity in ((0, 0), (1, 5), (4, 20), (9, 20)):
        assert vae.loss(terms, epochs).item() == pytest.approx(reconstruction + 3 * abs(kl - capacity), rel=1e-12)
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


# -- bounds -------------------------------------------------------------------------------------------------------------


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


@pytest.mark.trained
def test_strange_rows_have_the_highest_anomaly_score(vae, digits):  # (G.5)
    usual = vae.anomaly_score(digits[1])
    noise_images = vae.anomaly_score(np.random.default_rng(2).permuted(digits[1], axis=1))
    assert np.median(noise_images) > np.quantile(usual, 0.99)


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


# -- encoding and generating --------------------------------------------------------------------------------------------


def test_shapes_and_dtypes(small):
    mean, log_var = small.encode(X)
    results = {
        (53, K): [mean, log_var, small.transform(X)],
        (53, D): [small.decode(mean), small.inverse_transform(mean), small.reconstruct(X), small.reconstruct(X, temperature=0.5)],
        (6, D): [small.sample(6), small.sample(6, pixels="draw"), small.interpolate(X[0], X[1], 6), small.traverse(X[0], 1, 6)],
        (53,): [small.elbo(X)],
    }
    for shape, arrays in results.items():
        for array in arrays:
            assert type(array) is np.ndarray
            assert array.shape == shape
            assert array.dtype == np.float32
            assert np.isfinite(array).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_of_the_model_rules(dtype):
    vae = mv.VAE(**SMALL, epochs=1, batch_size=20, dtype=dtype).fit(X.astype(np.float64))
    for array in (*vae.encode(X), vae.sample(3), vae.sample(3, pixels="draw"), vae.elbo(X), vae.reconstruct(X, 1.0)):
        assert array.dtype == dtype
    assert vae.parameters_.values.dtype == dtype


def test_encoder_and_decoder_are_the_networks_of_their_weights(small):
    heads = plain_network(small, "encoder", X.astype(np.float64))
    mean, log_var = small.encode(X)
    np.testing.assert_allclose(mean, heads[:, :K], atol=1e-5)
    np.testing.assert_allclose(log_var, heads[:, K:], atol=1e-5)
    z = noise(17, K)
    outputs = plain_network(small, "decoder", z)
    expected = 1 / (1 + np.exp(-outputs)) if small.likelihood == "bernoulli" else outputs[:, :D]
    np.testing.assert_allclose(small.decode(z), expected, atol=1e-4)


def test_decoder_mirrors_the_encoder(small):
    assert [layer.weight.shape for layer in small.encoder_.layers] == [(D, 11), (11, 5), (5, 2 * K)]
    width = small.likelihood_.outputs_per_feature * D
    assert [layer.weight.shape for layer in small.decoder_.layers] == [(K, 5), (5, 11), (11, width)]


def test_chunks_do_not_show(vae, digits):
    x = np.concatenate([digits[0], digits[1]])
    assert len(x) > CHUNK_ROWS
    whole = vae.encode(x)
    pieces = [vae.encode(part) for part in np.array_split(x, 7)]
    for i in range(2):  # products of other shapes are summed in another order
        np.testing.assert_allclose(np.concatenate([piece[i] for piece in pieces]), whole[i], atol=2e-5)
    np.testing.assert_allclose(vae.decode(whole[0])[1500:], vae.decode(whole[0][1500:]), atol=2e-6)


def test_pixels_of_eight_bits_are_their_value_over_255():
    x = np.random.default_rng(1).integers(0, 256, (53, D), dtype=np.uint8)
    from_bytes, from_floats = (mv.VAE(**SMALL, epochs=2, batch_size=20).fit(a) for a in (x, x / np.float32(255)))
    np.testing.assert_array_equal(from_bytes.parameters_.values, from_floats.parameters_.values)
    for call in (from_bytes.transform, from_bytes.elbo, from_bytes.reconstruct):
        np.testing.assert_array_equal(call(x), call(x / np.float32(255)))
    np.testing.assert_array_equal(from_bytes.interpolate(x[0], x[1] / np.float32(255)), from_bytes.interpolate(x[0], x[1]))


@pytest.mark.parametrize("binarize", ["fixed", "dynamic"])
def test_binarised_pixels_are_scored_and_grey_ones_encoded(binarize):
    vae = mv.VAE(**SMALL, epochs=2, batch_size=20, binarize=binarize).fit(X)
    grey = mv.VAE(**SMALL, epochs=2, batch_size=20).fit(X)
    vae.parameters_.values[...] = grey.parameters_.values
    np.testing.assert_array_equal(vae.encode(X), grey.encode(X))
    np.testing.assert_array_equal(vae.elbo(X), vae.elbo(X))
    assert (vae.elbo(X, seed=1) != grey.elbo(X, seed=1)).mean() > 0.9
    binary = (X > 0.5).astype(np.float32)
    if binarize == "fixed":  # what is binary already stays so, and the noise is the same
        np.testing.assert_array_equal(vae.elbo(binary), grey.elbo(binary))
    spread = vae.elbo(near_copies(X[:1], 50), n_samples=200).std()
    assert spread > 5 * grey.elbo(near_copies(X[:1], 50), n_samples=200).std()  # each copy has pixels of its own


def test_reconstruction_at_temperature_zero_is_the_decoded_mean(small):  # (G.2)
    mean, _ = small.encode(X)
    np.testing.assert_array_equal(small.reconstruct(X), small.decode(mean))
    np.testing.assert_array_equal(small.reconstruct(X, temperature=0), small.decode(mean))


def test_a_temperature_scales_the_noise_around_the_mean():  # (G.2)
    vae = blank_vae(X, **SMALL)
    mean, log_var = vae.encode(X)
    epsilon = vae._generator("sample", 5).standard_normal(mean.shape)
    nearby = vae.decode(mean + 0.7 * np.exp(log_var / 2) * epsilon)
    np.testing.assert_allclose(vae.reconstruct(X, 0.7, seed=5), nearby, rtol=1e-9)


@pytest.mark.parametrize(("d", "k"), [(60, 2), (2, 60)])
def test_no_more_memory_is_taken_than_was_asked_for(d, k, monkeypatch):
    """The question whether there is room for the samples is about what they take, be it for the features or for the latents."""
    asked = []
    monkeypatch.setattr("minivae.models.generative.check_memory", lambda argument, size, mend: asked.append(size))
    vae = blank_vae(np.random.default_rng(0).random((20, d)), latent_dim=k, hidden_dims=(3,))
    tracemalloc.start()
    try:
        vae.sample(20_000)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0.3 * asked[0] < taken < 1.2 * asked[0]


def test_reconstructions_are_repeatable_and_each_row_differs(small):
    copies = np.repeat(X[:1], 50, axis=0)
    first = small.reconstruct(copies, temperature=1.0, seed=5)
    np.testing.assert_array_equal(first, small.reconstruct(copies, temperature=1.0, seed=5))
    assert (first != small.reconstruct(copies, temperature=1.0, seed=6)).any(axis=1).all()
    assert len(np.unique(first, axis=0)) == 50


def test_samples_are_decoded_draws_of_the_prior(small):  # (G.1)
    n = 4000
    means = small.sample(n, seed=2)
    np.testing.assert_array_equal(means, small.sample(n, seed=2))
    assert (means != small.sample(n, seed=3)).any(axis=1).all()
    assert len(np.unique(means, axis=0)) == n
    mine = small.decode(noise(n, K).astype(np.float32))
    error = np.sqrt((means.var(axis=0) + mine.var(axis=0)) / n)
    assert (np.abs(means.mean(axis=0) - mine.mean(axis=0)) < 4.5 * error).all()
    drawn = small.sample(n, seed=2, pixels="draw")
    if small.likelihood == "bernoulli":
        assert set(np.unique(drawn)) == {0, 1}
        residual_variance = (means * (1 - means)).mean(axis=0)
    else:
        residual_variance = (drawn - means).var(axis=0)
        if small.likelihood == "gaussian_fixed":
            assert (np.abs(residual_variance / 0.02 - 1) < 5 * math.sqrt(2 / n)).all()
    assert (np.abs((drawn - means).mean(axis=0)) < 4.5 * np.sqrt(residual_variance / n)).all()


def test_samples_without_a_seed_differ_from_call_to_call_and_repeat_from_the_beginning(tmp_path):
    vae = blank_vae(X, **SMALL, noise="generator")
    vae.save(tmp_path / "vae")
    calls = [vae.sample(4) for _ in range(3)]
    assert all((one != other).any() for one, other in itertools.combinations(calls, 2))
    for n, made in enumerate(calls[1:], 1):  # by its number a call can be made again on its own
        np.testing.assert_allclose(made, vae.decode(vae.draw_prior(4, vae._generator("sample", vae.seed, n))), rtol=1e-12)
    again = mv.load(tmp_path / "vae", device="cpu")
    np.testing.assert_array_equal([again.sample(4) for _ in range(3)], calls)
    np.testing.assert_array_equal(again.sample(4, seed=vae.seed), calls[0])  # a seed says which, however often one has asked
    vae.fit(X)
    assert len({vae.sample(4, pixels="draw").tobytes() for _ in range(3)}) == 3
    np.testing.assert_array_equal(vae.elbo(X), vae.elbo(X))  # figures stay figures


def test_many_samples_come_in_chunks():
    vae = blank_vae(X, **SMALL)
    assert vae.sample(CHUNK_ROWS + 3, pixels="draw").shape == (CHUNK_ROWS + 3, D)
    np.testing.assert_allclose(vae.sample(CHUNK_ROWS + 3, 0)[: CHUNK_ROWS - 5], vae.sample(CHUNK_ROWS - 5, 0), rtol=1e-12)


@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_interpolation_goes_from_reconstruction_to_reconstruction(small, path):  # (G.3)
    way = small.interpolate(X[0], X[1], 5, path)
    np.testing.assert_allclose(way[[0, -1]], small.reconstruct(X[:2]), atol=2e-6)
    a, b = small.transform(X[:2])
    if path == "linear":
        np.testing.assert_allclose(way[2], small.decode((a + b)[None] / 2)[0], atol=2e-6)
    np.testing.assert_array_equal(small.interpolate(X[0].tolist(), X[1].reshape(1, D, 1), 5, path), way)


def test_traversal_decodes_the_mean_with_one_dimension_swept(small):  # (G.4)
    z = np.repeat(small.transform(X[:1]), 5, axis=0)
    assert len(small.traverse(X[0], dim=1, n=2)) == 2
    z[:, 1] = np.linspace(-2, 2, 5)
    np.testing.assert_allclose(small.traverse(X[0], dim=1, n=5, span=2.0), small.decode(z), atol=2e-6)


# -- refusals -----------------------------------------------------------------------------------------------------------

SETTINGS = {
    "latent_dim": [0, -1, 2.0, "3", None, True],
    "hidden_dims": [400, "400", None, (0,), (4, -1), (4.0,)],
    "activation": ["gelu", None],
    "likelihood": ["normal", None],
    "variance": [0, -1.0, math.nan, math.inf, "1"],
    "variance_floor": [0.0, -1e-3, math.nan],
    "init": ["orthogonal"],
    "output_bias": ["mean"],
    "binarize": ["static", True],
    "epochs": [0, 1.5],
    "batch_size": [0, 54, 2.0],
    "learning_rate": [0, -1e-3, math.nan, math.inf],
    "optimizer": ["adamw"],
    "clip_norm": [0, -1.0, "1"],
    "patience": [0, 1.5],
    "seed": [-1, 0.5, None],
    "random_state": [-1, 0.5, "0"],
    "verbose": [-1, 0.5, "yes"],
    "noise": ["philox", None],
    "device": ["gpu", None],
    "dtype": ["float16", np.float32],
    "beta": [-1.0, math.nan, None],
    "warm_up_epochs": [-1, 0.5],
    "free_bits": [-0.1, math.inf],
    "capacity": [-1.0, math.nan],
    "n_samples": [0, 1.5],
    "posterior_variance": ["relu", None],
}


def test_every_setting_is_checked():
    assert SETTINGS.keys() == mv.VAE().get_params().keys()


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in SETTINGS.items() for value in values])
def test_unusable_settings_are_refused_by_fit_and_nothing_changes(name, value):
    vae = mv.VAE(**SMALL, epochs=1, batch_size=20).fit(X)
    before, figures = vae.parameters_.values.copy(), vae.history_
    vae.set_params(**{name: value})  # the constructor and set_params only store: scikit-learn's way
    message = complaint(InputError, vae.fit, X)
    assert message.startswith(f"{name}: ")
    assert repr(value) in message or repr(value[-1]) in message  # of the widths, the one at fault
    np.testing.assert_array_equal(vae.parameters_.values, before)
    assert vae.history_ is figures


def test_settings_have_to_exist():
    with pytest.raises(TypeError, match="latent"):
        mv.VAE(latent=3)
    assert "latent_dim" in complaint(InputError, lambda: mv.VAE().set_params(latent_dims=3))


def with_value(value: float, row: int) -> np.ndarray:
    x = X.copy()
    x[row, 2] = value
    return x


DATA = {
    "one example": (X[0], ["shape (7,)", "reshape(1, -1)"]),
    "no rows": (X[:0], ["(0, 7)", "at least one"]),
    "no features": (X[:, :0], ["(53, 0)", "at least one"]),
    "ragged list": ([[1.0], [2.0, 3.0]], ["list", "NumPy array"]),
    "text": (X.astype(str), ["<U", "real numbers"]),
    "complex": (X.astype(complex), ["complex"]),
    "missing": (with_value(np.nan, 52), ["nan at row 52, column 2", "impute"]),
    "infinite": (with_value(-np.inf, 3), ["-inf at row 3, column 2"]),
    "raw pixels": (X * 255, ["[0, 1]", "255"]),
    "negative": (X - 0.5, ["[0, 1]", "gaussian"]),
}


@pytest.mark.parametrize("argument", ["x", "x_test"])
@pytest.mark.parametrize(("x", "words"), DATA.values(), ids=DATA)
def test_unusable_data_are_refused_before_anything_changes(argument, x, words):
    vae = mv.VAE(**SMALL, epochs=1, batch_size=20)
    message = complaint(InputError, lambda: vae.fit(**{"x": X} | {argument: x}))
    assert message.startswith(f"{argument}: ")
    assert all(word in message for word in words)
    assert not hasattr(vae, "parameters_")


def test_a_batch_has_no_more_rows_than_there_are():
    for n, expected in ((1, "1, since there is 1 row of data"), (7, "at most the 7 rows of the data")):
        assert f"batch_size: expected {expected}, got 20" in complaint(InputError, mv.VAE(**SMALL, batch_size=20).fit, X[:n])


def test_test_rows_need_the_features_of_the_training_rows():
    message = complaint(InputError, lambda: mv.VAE(**SMALL, batch_size=20).fit(X, x_test=X[:, :5]))
    assert "x_test: expected 7 features" in message


CALLS = {
    "encode": (lambda vae: vae.encode(X[:, :5]), "x: expected 7 features, as the model was fitted with, got 5"),
    "transform": (lambda vae: vae.transform(with_value(np.nan, 3)), "x: expected finite numbers, got nan at row 3, column 2"),
    "decode": (lambda vae: vae.decode(X), f"z: expected {K} features"),
    "decode nan": (lambda vae: vae.decode(np.full((2, K), np.nan)), "z: expected finite numbers, got nan at row 0, column 0"),
    "inverse_transform": (lambda vae: vae.inverse_transform(X[0]), "z: expected shape (n, d), got shape (7,)"),
    "elbo": (lambda vae: vae.elbo(X * 3), "x: expected values in [0, 1]"),
    "elbo samples": (lambda vae: vae.elbo(X, n_samples=0), "n_samples: "),
    "elbo seed": (lambda vae: vae.elbo(X, seed=-1), "seed: "),
    "log_likelihood": (lambda vae: vae.log_likelihood(X[:, :5]), "x: expected 7 features"),
    "log_likelihood samples": (lambda vae: vae.log_likelihood(X, 2.5), "n_samples: "),
    "score_samples": (lambda vae: vae.score_samples(with_value(np.nan, 0)), "x: expected finite numbers"),
    "anomaly_score": (lambda vae: vae.anomaly_score(X[:0]), "x: expected at least one"),
    "sample": (lambda vae: vae.sample(0), "n: expected a whole number of at least 1"),
    "sample pixels": (lambda vae: vae.sample(3, pixels="grey"), "pixels: expected one of mean, draw"),
    "sample seed": (lambda vae: vae.sample(3, seed="a"), "seed: "),
    "reconstruct": (lambda vae: vae.reconstruct(X, temperature=-0.1), "temperature: "),
    "reconstruct nan": (lambda vae: vae.reconstruct(X, temperature=math.nan), "temperature: "),
    "interpolate n": (lambda vae: vae.interpolate(X[0], X[1], 1), "n: expected a whole number of at least 2"),
    "interpolate path": (lambda vae: vae.interpolate(X[0], X[1], path="cubic"), "path: expected one of linear, spherical"),
    "interpolate width": (lambda vae: vae.interpolate(X[0], X[1, :5]), "x: expected 7 features"),
    "traverse dim": (lambda vae: vae.traverse(X[0], dim=K), "dim: expected a whole number from 0 to 2, got 3"),
    "traverse span": (lambda vae: vae.traverse(X[0], dim=0, span=math.nan), "span: "),
    "traverse n": (lambda vae: vae.traverse(X[0], dim=0, n=10**13), "n: expected what fits in"),
    "interpolate too many": (lambda vae: vae.interpolate(X[0], X[1], 10**13), "n: expected what fits in"),
    "sample too many": (lambda vae: vae.sample(10**13), "n: expected what fits in"),
    "certificate n_steps": (lambda vae: vae.certificate(2, 2, 0), "n_steps: expected a whole number from 1"),
    "certificate too many": (lambda vae: vae.certificate(10**6, 10**6, 1), "n: expected what fits in"),
    "decode text": (lambda vae: vae.decode(np.full((2, K), "a")), "z: expected real numbers, got dtype <U1"),
    "decode complex": (lambda vae: vae.decode(np.full((2, K), 1j)), "z: expected real numbers, got dtype complex128"),
    "traverse width": (lambda vae: vae.traverse(X[:2], dim=0), "x: expected 7 features"),
}


@pytest.mark.parametrize(("call", "words"), CALLS.values(), ids=CALLS)
def test_unusable_arguments_are_refused(call, words):
    assert complaint(InputError, call, blank_vae(X, **SMALL)).startswith(words)


@pytest.mark.parametrize("name", [name for name in CALLS if " " not in name] + ["score", "fit_transform", "save"])
def test_model_without_parameters_says_so(name, tmp_path):
    arguments = {"decode": (X[:, :K],), "inverse_transform": (X[:, :K],), "sample": (), "save": (tmp_path / "file",)}
    arguments |= {"interpolate": (X[0], X[1]), "traverse": (X[0], 0)}
    vae = mv.VAE(**SMALL, batch_size=20, epochs=1)
    if name == "fit_transform":
        assert vae.fit_transform(X).shape == (53, K)
        return
    message = complaint(NotFittedError, getattr(vae, name), *arguments.get(name, (X,)))
    assert "fit" in message
    assert os.listdir(tmp_path) == []


# -- files --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_saved_model_comes_back_whole(small, tmp_path):
    small.save(tmp_path / "model.safetensors")
    loaded = mv.load(tmp_path / "model.safetensors", device="cpu")
    assert type(loaded) is mv.VAE
    assert loaded.get_params() == small.get_params()
    assert loaded.history_ == small.history_
    assert loaded.n_features_in_ == D
    np.testing.assert_array_equal(loaded.parameters_.values, small.parameters_.values)
    for name in ("encode", "elbo", "log_likelihood", "reconstruct"):
        np.testing.assert_array_equal(getattr(loaded, name)(X), getattr(small, name)(X))
    np.testing.assert_array_equal(loaded.sample(5, 0, "draw"), small.sample(5, 0, "draw"))
    loaded.fit(X)  # and it can be trained anew
    np.testing.assert_array_equal(loaded.parameters_.values, small.parameters_.values)


def test_save_of_a_model_with_numpy_settings(tmp_path):
    vae = mv.VAE(latent_dim=np.int64(2), hidden_dims=(np.int32(4),), learning_rate=np.float32(1e-3), epochs=1, batch_size=20)
    vae.fit(X).save(tmp_path / "model")
    assert mv.load(tmp_path / "model").hidden_dims == (4,)


@pytest.mark.parametrize("damage", [lambda content: content[:-9], lambda content: content[:-1] + b"!", lambda content: b""])
def test_damaged_file_is_refused(tmp_path, damage):
    path = tmp_path / "model"
    blank_vae(X, **SMALL).save(path)
    path.write_bytes(damage(path.read_bytes()))
    assert str(path) in complaint(DataFileError, mv.load, path)


def test_missing_file(tmp_path):
    assert str(tmp_path / "absent") in complaint(DataFileError, mv.load, tmp_path / "absent")


# -- devices ------------------------------------------------------------------------------------------------------------


def test_cuda_without_a_device_is_refused_with_the_reason():
    available, reason = mv.backend.probe_cuda()
    if available:
        pytest.skip("there is a CUDA device here")
    message = complaint(DeviceError, mv.VAE(**SMALL | {"device": "cuda"}, batch_size=20).fit, X)
    assert reason in message


def test_fit_and_use_on_each_device(device):
    """What a model computes from given numbers is the same everywhere; what it draws is not."""
    here = mv.VAE(**SMALL, epochs=2, batch_size=20, likelihood="gaussian_shared").fit(X)
    there = mv.VAE(**SMALL | {"device": device}, epochs=2, batch_size=20, likelihood="gaussian_shared").fit(X, x_test=X)
    assert len(there.history_["test_loss"]) == 2
    there.parameters_.values[...] = to_device(there.xp_, here.parameters_.values)
    for mine, other in zip(here.encode(X), there.encode(X)):
        assert type(other) is np.ndarray
        np.testing.assert_allclose(other, mine, atol=1e-5)
    on_device = to_device(there.xp_, X)
    for call in (there.transform, there.elbo, there.log_likelihood, there.reconstruct):
        assert type(call(X)) is np.ndarray
        assert type(call(on_device)) is type(on_device)
        np.testing.assert_allclose(to_numpy(call(on_device)), call(X), atol=1e-5)
    assert type(there.sample(3)) is type(there.sample(3, pixels="draw")) is np.ndarray
    elbo = here.elbo(np.repeat(X, 50, axis=0)).mean()
    assert there.elbo(np.repeat(X, 50, axis=0)).mean() == pytest.approx(elbo, abs=0.2)


RECORDS = {
    "record.n_features: expected a value, got none": lambda record: record.pop("n_features"),
    "record.params: expected an object with names, got 7": lambda record: record.update(params=7),
    "epochs: expected a whole number of at least 1, got 0": lambda record: record["params"].update(epochs=0),
    "record.n_features: expected a whole number of at least 1, got 0": lambda record: record.update(n_features=0),
    "array decoder.2": lambda record: record["params"].update(hidden_dims=[10**5, 10**5]),
    "model: expected one of the models": lambda record: record.update(model=["VAE"]),
    "learned: expected nothing, got classes_": lambda record: record["learned"].update(classes_=[0, 1]),
    "history: expected figures of 20 latent dimensions": lambda record: record["history"].update(active_units=[21]),
    "history: expected figures of 20 latent dimensions, got": lambda record: record["history"].update(kl_per_dimension=[[0.0]]),
}


@pytest.mark.parametrize("words", RECORDS)
def test_a_file_that_is_no_model_says_what_is_wrong_with_it(tmp_path, words):
    """It names the place in the file, and does so before the memory is taken that the settings ask for, here 80 GB."""
    path = tmp_path / "vae.safetensors"
    blank_vae(X).save(path)
    message = complaint(DataFileError, mv.load, rewritten(path, RECORDS[words]), device="cpu")
    assert message.startswith(f"{path}: expected a model, got {words}")


def test_a_file_with_more_numbers_than_the_model_has_is_refused(tmp_path):
    """Whatever a training keeps beside the parameters is no larger than all of them: nobody is made to read 80 GB."""
    path = tmp_path / "vae.safetensors"
    vae = blank_vae(X)
    vae.save(path)
    most = vae.parameters_.values.size
    rewritten(path, lambda record: None, **{"training.mean": np.zeros(most)})
    mv.load(path, device="cpu")
    rewritten(path, lambda record: None, **{"training.mean": np.zeros(most + 1)})
    message = complaint(DataFileError, mv.load, path, device="cpu")
    assert f"array training.mean: expected at most {most} numbers, got {most + 1}" in message


@pytest.mark.parametrize("wrong", [np.nan, -np.inf])
def test_a_file_with_numbers_that_are_not_finite_is_refused(wrong, tmp_path):
    path, vae = tmp_path / "vae.safetensors", blank_vae(X)
    vae.save(path)
    rewritten(path, lambda record: None, **{"decoder.0.bias": np.full(400, wrong)})
    assert "array decoder.0.bias: expected finite numbers" in complaint(DataFileError, mv.load, path, device="cpu")


def test_a_device_is_chosen_by_the_user_and_not_by_the_file(tmp_path, monkeypatch):
    """What is wrong with the device is not wrong with the file: nobody should save the model anew for it."""
    path = tmp_path / "vae.safetensors"
    blank_vae(X).save(path)
    assert "device: expected one of" in complaint(InputError, mv.load, path, device="gpu")
    monkeypatch.setattr("minivae.backend.probe_cuda", lambda: (False, "no driver"))
    message = complaint(DeviceError, mv.load, path, device="cuda")
    assert "no driver" in message
    assert str(path) not in message
