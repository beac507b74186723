"""What a VAE refuses, settings, data and arguments, with which words, and that nothing is lost by it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.helpers import blank_vae, complaint
from support.small_vae import SMALL, K, X, with_value

import minivae as mv
from minivae.checks import InputError

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
