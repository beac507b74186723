"""What every model owes: it trains, survives save and load, obeys scikit-learn, and keeps to its device."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from support.family import TINY, D, X, Y, blank, every_model
from support.helpers import complaint, needs_mnist

import minivae as mv
from minivae.backend import to_device, to_numpy
from minivae.checks import InputError, NotFittedError
from minivae.models import MODELS, Model
from minivae.models.classifying import Classifier
from minivae.models.vae import Variational

# Settings besides the defaults that make a difference to what is saved or run.
VARIANTS = [
    *((kind, {}) for kind in MODELS.values()),
    (mv.Autoencoder, {"tied": True, "l1": 1e-3, "l2": 1e-3}),
    (mv.Autoencoder, {"likelihood": "gaussian", "hidden_dims": ()}),
    (mv.SparseAutoencoder, {"penalty": "kl"}),
    (mv.DenoisingAutoencoder, {"corruption": "gaussian"}),
    (mv.DenoisingAutoencoder, {"corruption": "salt_and_pepper"}),
    (mv.ContractiveAutoencoder, {"tied": True, "activation": "elu"}),
    *((kind, {"posterior_variance": "softplus"}) for kind in MODELS.values() if issubclass(kind, Variational)),
    (mv.VAE, {"free_bits": 0.1}),
    (mv.VAE, {"capacity": 2.0, "warm_up_epochs": 2}),
    (mv.IWAE, {"gradient": "doubly_reparameterized", "likelihood": "gaussian_shared"}),
    (mv.VAEClassifier, {"classifier_hidden_dims": (4,)}),
    (mv.CategoricalVAE, {"gradient": "straight_through", "n_categories": 3}),
    (mv.CategoricalVAE, {"gradient": "score_function", "n_samples": 3, "warm_up_epochs": 2}),
    (mv.VQVAE, {"codebook": "gradient", "code_dim": 2, "tied": True}),
]
every_variant = pytest.mark.parametrize(("kind", "settings"), VARIANTS, ids=lambda value: getattr(value, "__name__", str(value)))


@every_variant
def test_file_brings_the_model_back(kind, settings, tmp_path):
    model = blank(kind, Y, **settings)
    model.save(tmp_path / "model.safetensors")
    again = mv.load(tmp_path / "model.safetensors", device="cpu")
    assert type(again) is kind
    assert again.get_params() == model.get_params()
    assert json.dumps(again.history_) == json.dumps(model.history_)
    for use in (model.transform, model.elbo, model.log_likelihood):
        np.testing.assert_array_equal(getattr(again, use.__name__)(X, y=Y), use(X, y=Y))
    np.testing.assert_array_equal(again.sample(5, y=2), model.sample(5, y=2))
    np.testing.assert_array_equal(again.reconstruct(X, 0.5, y=Y), model.reconstruct(X, 0.5, y=Y))


@pytest.mark.slow
@every_variant
def test_every_use_works(kind, settings):
    model = blank(kind, Y, **settings)
    mean, log_var = model.encode(X, Y)
    assert mean.shape == log_var.shape == (len(X), model.latent_width())
    assert model.decode(mean, Y).shape == model.reconstruct(X, y=Y).shape == X.shape
    between = ((model.interpolate, (X[0], X[1], 4)), (model.traverse, (X[0], 1, 4)))
    for use, arguments in between:
        if model.continuous:
            assert use(*arguments, y=2).shape == (4, D)
        else:
            refusal = f"{use.__name__}: expected a model with points between two latent vectors, got {kind.__name__}"
            assert refusal in complaint(InputError, use, *arguments)
    for scores in (model.elbo(X, y=Y), model.log_likelihood(X, 10, y=Y), model.score_samples(X, Y), model.anomaly_score(X, Y)):
        assert scores.shape == (len(X),)
        assert np.isfinite(scores).all()
    estimate = model.importance_estimate(X, 500, y=Y)
    assert model.elbo(X, 100, y=Y).mean() <= estimate.log_likelihood.mean() + 5 * estimate.standard_error.mean()  # M.3 ≤ M.6


@pytest.mark.slow
@pytest.mark.trained
@every_model
def test_training_lowers_the_loss_and_reports_it(kind, digits):
    labels = mv.datasets.load("digits")[0].y
    x, y, test_x, test_y = digits[0][:600], labels[:600], digits[0][600:900], labels[600:900]
    settings = {"latent_dim": 6, "hidden_dims": (31,), "epochs": 8, "batch_size": 60, "learning_rate": 3e-3, "device": "cpu"}
    settings["output_bias"] = "zeros"  # from where there is far to go: 44 nats
    model = kind(**settings).fit(x, y, test_x, test_y)
    history = model.history_
    assert all(len(values) == 8 for values in history.values())
    assert {"epoch", "seconds", "active_units", "train_loss", "test_loss", "train_reconstruction", "test_reconstruction"} <= set(
        history
    )
    for part in ("train", "test"):
        assert history[f"{part}_loss"][-1] < history[f"{part}_loss"][0] - 3
    np.testing.assert_array_equal(kind(**settings).fit(x, y).transform(x, y), model.transform(x, y))  # the test set is only watched


@every_model
def test_reported_losses_are_averages_over_examples_whatever_the_batches(kind):
    """At a vanishing learning rate, and one sample for each row, train_ and test_ terms are of the same model on the same rows."""
    settings = TINY | {"epochs": 1, "learning_rate": 1e-300, "likelihood": "gaussian_fixed"}
    settings |= {"codebook": "gradient"} if kind is mv.VQVAE else {}  # moving averages have a rate of their own
    whole, parts = (kind(**settings, batch_size=size).fit(X, Y, X, Y).history_ for size in (29, 8))
    for name in ("reconstruction", "kl"):
        if f"train_{name}" in whole:
            noise = (
                1.0 if name == "kl" and getattr(kind, "by_samples", "") else 0.0
            )  # of two means over 29 estimates, each √(k/2) or more off
            assert whole[f"train_{name}"][0] == pytest.approx(parts[f"train_{name}"][0], rel=0.1, abs=noise)
            assert whole[f"test_{name}"][0] == parts[f"test_{name}"][0]


@pytest.mark.slow
@every_model
def test_scikit_learn_clones_searches_and_pipes(kind):
    pytest.importorskip("sklearn", reason="scikit-learn, whose protocol this is about, is absent")
    from sklearn.base import clone, is_classifier
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler

    model = kind(**TINY | {"epochs": 20, "batch_size": 5})
    assert clone(model).get_params() == model.get_params()
    search = GridSearchCV(model, {"learning_rate": [1e-300, 1e-2], "hidden_dims": [(5,)]}, cv=2, error_score="raise").fit(X, Y)
    assert search.best_params_["learning_rate"] == 1e-2 or is_classifier(model)  # whose accuracy is luck on 29 random rows
    pipe = make_pipeline(MinMaxScaler(clip=True), clone(model)).fit(X, Y)
    scaled = pipe[0].transform(X)
    assert pipe.score(X, Y) == pytest.approx(pipe[1].score(scaled, Y))
    if kind is not mv.ConditionalVAE:  # which cannot transform without y, and a pipeline hands on none
        np.testing.assert_array_equal(pipe.transform(X), pipe[1].transform(scaled))
    if is_classifier(model):
        np.testing.assert_array_equal(pipe.predict(X), pipe[1].predict(scaled))


@pytest.mark.slow
@pytest.mark.parametrize("device", ["strict", "cuda"], indirect=True)
@every_variant
def test_the_device_does_what_the_cpu_does(kind, settings, device):
    """The noise differs between generators: "counter" draws the same everywhere."""
    options = TINY | {"epochs": 3, "batch_size": 10, "noise": "counter"} | settings
    here, there = kind(**options).fit(X, Y, X, Y), kind(**options | {"device": device}).fit(X, Y, X, Y)
    np.testing.assert_allclose(to_numpy(there.parameters_.values), here.parameters_.values, rtol=1e-6, atol=1e-9)
    on_device = to_device(there.xp_, X)
    assert isinstance(there.transform(on_device, Y), type(on_device))
    for use in ("transform", "elbo", "score_samples", "reconstruct"):
        expected = getattr(here, use)(X, y=Y)
        np.testing.assert_allclose(to_numpy(getattr(there, use)(on_device, y=Y)), expected, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(getattr(there, use)(X, y=Y), expected, rtol=1e-6, atol=1e-9)
    if hasattr(here, "predict"):
        np.testing.assert_array_equal(there.predict(on_device), here.predict(X))


@pytest.mark.slow
@pytest.mark.trained
@needs_mnist
@every_model
def test_every_model_trains_on_mnist(kind):
    from support.helpers import MNIST

    train, test = mv.datasets.load("mnist", MNIST)
    x, y = train.values[:1000], train.y[:1000]
    settings = {"latent_dim": 5, "hidden_dims": (50,), "epochs": 8, "batch_size": 50, "learning_rate": 3e-3, "output_bias": "data"}
    model = kind(**settings, device="cpu").fit(x, y, test.values[:300], test.y[:300])
    assert model.history_["test_reconstruction"][-1] < 195  # that of the mean image, where they all begin, is 206
    assert all(a > b for a, b in itertools.pairwise(model.history_["train_loss"]))


@every_model
def test_settings_are_given_by_name(kind):
    """``VAE(20)`` would set whatever setting happens to come first, and another one after the next release."""
    with pytest.raises(TypeError, match="positional"):
        kind(20)


@every_model
def test_a_model_is_equal_to_itself_alone_and_can_be_a_key(kind):
    """Equality by settings would take a trained model for a blank one, and take away its hash."""
    first, second = kind(), kind()
    assert first != second
    assert len({first, second}) == 2


@every_model
def test_every_count_may_be_one(kind):
    counts = dict.fromkeys(("latent_dim", "batch_size", "epochs", "patience"), 1)
    kind(**counts | {"hidden_dims": (1,), "device": "cpu"}).fit(X[:6], Y[:6])


@every_model
def test_a_model_that_is_not_fitted_refuses_every_use(kind, tmp_path):
    model = kind(**TINY)
    uses = dict.fromkeys(("encode", "transform", "score_samples", "anomaly_score", "score"), (X, Y))
    uses |= {"decode": (X[:, : model.latent_width()],), "inverse_transform": (X[:, : model.latent_width()],)}
    uses |= dict.fromkeys(("elbo", "log_likelihood", "importance_estimate", "predict", "predict_proba"), (X,))
    uses |= {"sample": (3,), "certificate": (3,), "interpolate": (X[0], X[1]), "traverse": (X[0], 0)}
    uses |= {"reconstruct": (X, 0.5), "change_condition": (X, Y, Y), "save": (tmp_path / "file",)}
    for name, arguments in uses.items():
        if hasattr(model, name):
            refusal = complaint(NotFittedError, getattr(model, name), *arguments)
            assert refusal.startswith(f"{kind.__name__}: expected a fitted model"), name
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("base", [Model, Classifier], ids=lambda base: base.__name__)
def test_what_a_new_kind_of_model_has_to_define_raises_until_it_does(base):
    """A method that returned None would fail elsewhere, with a message about something else."""
    unsaid = [("code_width",), ("posterior", X), ("terms", X, None), ("loss", {})]
    unsaid += [("class_log_probabilities", X)] if base is Classifier else []
    for name, *arguments in unsaid:
        with pytest.raises(NotImplementedError):
            getattr(base(), name)(*arguments)
