"""A VAE in use: its codes, reconstructions, samples and ways through the latent space."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from support.helpers import blank_vae, near_copies, plain_network
from support.small_vae import SMALL, D, K, X, noise

import minivae as mv
from minivae.training.batches import CHUNK_ROWS


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
def test_the_memory_that_samples_need_is_what_is_checked(d, k, monkeypatch):
    """It is asked whether there is room for features and latents, both in chunks and put together: a little more than is needed."""
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
    for n, made in enumerate(calls[1:], 1):  # call n has a stream of its own, so it can be made again without the others
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
    z[:, 1] = np.linspace(-2, 2, 5)
    np.testing.assert_allclose(small.traverse(X[0], dim=1, n=5, span=2.0), small.decode(z), atol=2e-6)
    assert len(small.traverse(X[0], dim=1, n=2)) == 2  # the ends alone


@pytest.mark.trained
def test_strange_rows_have_the_highest_anomaly_score(vae, digits):  # (G.5)
    usual = vae.anomaly_score(digits[1])
    noise_images = vae.anomaly_score(np.random.default_rng(2).permuted(digits[1], axis=1))
    assert np.median(noise_images) > np.quantile(usual, 0.99)


def test_fit_transform_trains_and_returns_the_features():
    vae = mv.VAE(**SMALL, batch_size=20, epochs=1)
    np.testing.assert_array_equal(vae.fit_transform(X), vae.transform(X))
