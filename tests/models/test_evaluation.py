"""A figure of a row is the row's own, a figure of a data set is of the set, whatever the order and the company of the rows."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from support.helpers import complaint, plain_kl

import minivae as mv
from minivae.autodiff import Tensor
from minivae.checks import NonFiniteError
from minivae.models.whole import farthest
from minivae.ops import mean
from minivae.runs.scores import score
from minivae.training.batches import Rows

MODELS = {
    "VAE": {},
    "VAE, free bits": {"free_bits": 0.3},
    "VAE, capacity": {"capacity": 5.0},
    "VAE, several samples": {"n_samples": 3},
    "VAE, dynamic": {"binarize": "dynamic"},
    "VAE, fixed": {"binarize": "fixed"},
    "VAE, counter": {"noise": "counter"},
    "VAE, gaussian": {"likelihood": "gaussian"},
    "IWAE": {},
    "Autoencoder": {"l2": 1e-3},
    "SparseAutoencoder": {"penalty": "kl"},
    "DenoisingAutoencoder": {},
    "DenoisingAutoencoder, dynamic": {"binarize": "dynamic", "corruption": "gaussian"},
    "ContractiveAutoencoder": {},
    "ConditionalVAE": {},
    "SemiSupervisedVAE": {},
    "VAEClassifier": {},
    "BetaTCVAE": {},
    "InfoVAE": {},
    "DIPVAE": {},
    "CategoricalVAE": {},
    "CategoricalVAE, by its score": {"gradient": "score_function", "n_samples": 2},
    "VQVAE": {},
    "VQVAE, by gradient": {"codebook": "gradient"},
}
every_model = pytest.mark.parametrize("name", MODELS)
N = 2048  # two chunks


class WithBrightness(mv.Autoencoder):
    """Reports a single number for each batch."""

    def terms(self, x, rng, condition=None):
        return super().terms(x, rng, condition) | {"brightness": mean(Tensor(x))}


def test_a_figure_of_chunks_counts_each_by_its_rows():
    x = data(N + 1)[0]
    x[-1] = 1.0  # alone in the third chunk
    model = WithBrightness(hidden_dims=(9,), latent_dim=3, epochs=1, batch_size=64, device="cpu").fit(x[:64])
    figures, _ = model.evaluate(Rows(x, np, "float32"))
    assert figures["brightness"] == pytest.approx(x.mean(dtype="float64"), rel=1e-6)


def data(n: int = N) -> tuple[np.ndarray, np.ndarray]:
    """Return grey rows of three classes that look different, and the classes."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n)
    return (0.2 + 0.3 * y[:, None] + rng.uniform(0, 0.2, (n, 12))).astype("float32"), y


def fitted(name: str, **settings) -> mv.Model:
    x, y = data(256)
    chosen = {"hidden_dims": (9,), "latent_dim": 3, "epochs": 3, "batch_size": 64, "learning_rate": 0.01, "device": "cpu"}
    return getattr(mv, name.split(",")[0])(**chosen | MODELS.get(name, {}) | settings).fit(x, y)


@pytest.mark.slow
@every_model
def test_sorted_or_shuffled_a_data_set_has_the_same_figures(name: str) -> None:
    model = fitted(name)
    x, y = data()
    found = []
    for order in (np.argsort(y, kind="stable"), np.random.default_rng(1).permutation(N)):
        terms, code = model.evaluate(model._rows(x[order], y[order]))
        found.append(terms | {"kl": np.mean(code.get("kl_per_dimension", 0.0))})
    for term, value in found[0].items():
        # products of matrices of other rows may differ in their last bits, and then a rounded code by a step
        assert found[1][term] == pytest.approx(value, rel=1e-4, abs=1e-5), term


@pytest.mark.slow
@every_model
@pytest.mark.parametrize("figure", ["elbo", "log_likelihood", "score_samples", "anomaly_score"])
def test_the_figure_of_a_row_does_not_depend_on_its_batch(name: str, figure: str) -> None:
    model = fitted(name)
    x, y = data(1500)
    compute = getattr(model, figure)
    y_of = (lambda rows: {"y": y[rows]}) if name == "ConditionalVAE" else lambda rows: {}
    together = compute(x, **y_of(slice(None)))
    some = np.random.default_rng(1).permutation(1500)[:40]
    np.testing.assert_allclose(compute(x[some], **y_of(some)), together[some], rtol=1e-4)
    np.testing.assert_allclose(compute(x[7:8], **y_of(slice(7, 8))), together[7:8], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["VAE", "VAE, dynamic", "VAE, fixed", "VAE, counter", "IWAE"])
def test_the_history_the_score_and_the_bound_of_each_row_tell_the_same(name: str, tmp_path) -> None:
    """On the same pixels and the same draws: before and after the model was kept in a file."""
    x, y = data()
    train, test = x[:512], x[512:]
    model = fitted(name).fit(train, x_test=test)
    model.save(tmp_path / "model")
    dataset = mv.datasets.Dataset(test, y[512:], None, "test")
    for same in (model, mv.load(tmp_path / "model", device="cpu")):
        figures = score(same, dataset, n_samples=1, n_examples=len(test))
        assert figures["test_elbo"] == pytest.approx(model.history_["test_elbo"][-1], rel=1e-6)
        n_samples = getattr(model, "n_importance_samples", 1)
        assert same.elbo(test, n_samples).mean() == pytest.approx(model.history_["test_elbo"][-1], rel=1e-5)
        # with one sample the importance-weighted bound is log p(x|z) + log p(z) − log q(z|x) at the z of the ELBO
        bound, weight = same.elbo(test), same.log_likelihood(test, n_samples=1)
        pixels, _, rng = next(same._rows(test).evaluation(0))
        n, (mean, log_var) = len(pixels), same.encode(pixels)
        noise = rng.standard_normal((n, 3), "float32")
        z = mean + np.exp(0.5 * log_var) * noise
        expected = bound[:n] + plain_kl(mean, log_var) + 0.5 * (noise**2 + log_var - z**2).sum(axis=1)
        np.testing.assert_allclose(weight[:n], expected, rtol=1e-4)


def test_capacity_is_held_by_the_mean_of_all_rows() -> None:
    model = fitted("VAE, capacity")
    x, _ = data()
    terms, _ = model.evaluate(model._rows(x))
    assert terms["loss"] == pytest.approx(terms["reconstruction"] + abs(terms["kl"] - 5.0), rel=1e-5)


def test_free_bits_are_of_the_mean_of_all_rows() -> None:
    model = fitted("VAE, free bits")
    x, _ = data()
    terms, code = model.evaluate(model._rows(x))
    assert terms["free_bits_kl"] == pytest.approx(np.maximum(code["kl_per_dimension"], 0.3).sum(), rel=1e-5)


def test_a_penalty_of_the_weights_is_the_same_for_any_number_of_rows() -> None:
    """Every chunk of a data set gives all of it, so the chunks' values are not added up."""
    model = fitted("Autoencoder")
    x, _ = data()
    few, many = (model.evaluate(model._rows(rows))[0] for rows in (x[:9], x))
    assert many["l2"] == pytest.approx(few["l2"], rel=1e-6)
    assert many["loss"] == pytest.approx(many["reconstruction"] + model.l2 * many["l2"], rel=1e-6)
    assert {type(figure) for figure in many.values()} == {float}


@pytest.mark.parametrize("scale", [3e4, 1e20, 1e30])
def test_a_row_that_is_far_out_is_the_strangest_of_all(scale: float) -> None:
    for name in ("VAE, gaussian", "IWAE", "Autoencoder", "SemiSupervisedVAE"):
        model = fitted(name, likelihood="gaussian")
        x, _ = data(5)
        x[2] *= scale
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for figure in (model.elbo, model.log_likelihood, model.score_samples, lambda x, m=model: -m.anomaly_score(x)):
                values = figure(x)
                assert np.isfinite(values[[0, 1, 3, 4]]).all()
                assert not np.isnan(values).any()
                assert values.argmin() == 2
                assert values[2] < -1e6


def test_an_evaluation_that_is_not_finite_names_its_row(tmp_path) -> None:
    x, _ = data(256)
    test = x[:40].copy()
    test[[17, 30]] = 1e30
    model = mv.VAE(hidden_dims=(9,), latent_dim=3, likelihood="gaussian", batch_size=64, epochs=2, patience=1, device="cpu")
    message = complaint(NonFiniteError, model.fit, x, x_test=test)
    assert message.startswith("x_test: ")
    assert "at row 17, whose numbers are from 1e+30 to 1e+30, and in 1 other row" in message
    model.fit(x)
    assert "at row 17" in complaint(NonFiniteError, score, model, mv.datasets.Dataset(test, None, None, "test"))


@pytest.mark.parametrize("name", mv.MODELS)
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_model_whose_numbers_are_not_finite_gives_none(name, wrong, tmp_path) -> None:
    """None of its figures, codes, decodings and predictions is given, and it is not saved; the blame is on the parameters."""
    model = fitted(name)
    model.parameters_.values[...] = wrong
    x, y = data(5)
    about = {} if not model.condition_width() else {"y": y}
    calls = {
        **{method: lambda f, _: f(x, **about) for method in ("elbo", "log_likelihood", "encode", "transform", "reconstruct")},
        **{method: lambda f, _: f(x, **about) for method in ("score_samples", "anomaly_score", "importance_estimate")},
        **{method: lambda f, _: f(x) for method in ("predict", "predict_proba")},
        "sample": lambda f, _: f(5, **about),
        "certificate": lambda f, _: f(5, **about),
        "decode": lambda f, k: f(np.zeros((5, k), np.float32), **about),
        "interpolate": lambda f, _: f(x[0], x[1], 3, **dict.fromkeys(about, y[:1])),
        "traverse": lambda f, _: f(x[0], dim=0, **dict.fromkeys(about, y[:1])),
        "save": lambda f, _: f(tmp_path / "file"),
    }
    for method, call in calls.items():
        if hasattr(model, method):
            refusal = complaint(NonFiniteError, call, getattr(model, method), model.latent_width())
            assert "expected finite parameters" in refusal, method
    assert not list(tmp_path.iterdir())


def test_the_mean_over_a_data_set_has_the_digits_of_a_double() -> None:
    """Also in float32: it is as exact as the mean that a user takes of the figures of all rows."""
    model = fitted("Autoencoder", l2=0.0)
    x, _ = data()
    figures, _ = model.evaluate(model._rows(x))
    assert figures["reconstruction"] == pytest.approx(-math.fsum(model.score_samples(x)) / N, rel=1e-12)


@pytest.mark.parametrize("method", ["pool", "loss", "code_statistics"])
def test_a_figure_of_the_whole_set_that_is_not_finite_is_named(method: str) -> None:
    """Every row is fine, and the figure that a model of one's own makes of them all is not: no row is to blame."""

    class Own(mv.VAE):
        pass

    def spoiled(self: mv.VAE, *args: Any) -> Any:
        given = getattr(mv.VAE, method)(self, *args)
        if method == "loss":
            return given * np.inf
        return given | ({"free_bits_kl": Tensor(np.nan)} if method == "pool" else {"spread": np.nan})

    model = fitted("VAE")
    x, _ = data(40)
    setattr(Own, method, spoiled)
    model.__class__ = Own
    message = complaint(NonFiniteError, model.evaluate, model._rows(x))
    assert message.startswith("Own: expected finite figures of a data set, got ")


def test_the_code_that_is_farthest_out_may_be_of_either_sign() -> None:
    mean, log_var = np.zeros((4, 3), "float32"), np.ones((4, 3), "float32")
    mean[1, 0] = 4
    assert repr(farthest(mean, log_var)) == "(1, 4.0)"
    log_var[2, 1] = -5.5
    assert repr(farthest(mean, log_var)) == "(2, -5.5)"


@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian_fixed", "gaussian_shared"])
def test_a_row_that_spoils_a_figure_of_all_is_named(likelihood: str) -> None:
    """Its own terms are finite; the parts of the KL, for which it is compared with all others, are not."""
    rng = np.random.default_rng(1)
    x, test = rng.standard_normal((200, 6)), rng.standard_normal((40, 6))
    test[5] = 7e4
    model = mv.VAE(epochs=3, hidden_dims=(30,), latent_dim=4, batch_size=50, likelihood=likelihood, device="cpu")
    assert "is that of row 5; leave such rows out" in complaint(NonFiniteError, model.fit, x, x_test=test)
