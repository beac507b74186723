"""What every model owes: it trains, survives save and load, obeys scikit-learn, and keeps to its device."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from support.family import TINY, D, X, Y, blank, gradients
from support.helpers import complaint, needs_mnist

import minivae as mv
from minivae.backend import to_device, to_numpy
from minivae.checks import InputError, NotFittedError
from minivae.models import MODELS, Model
from minivae.models.classifying import Classifier
from minivae.models.keeping import Keeping
from minivae.models.manners import Manners
from minivae.models.vae import Variational

every_model = pytest.mark.parametrize("kind", MODELS.values(), ids=list(MODELS))

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


AFTER_ONE = {"beta": 3.0, "warm_up_epochs": 4}  # β is then 3/4
LOSSES = {  # settings, and the weight that each term then has in the loss after one epoch
    mv.Autoencoder: ({"l1": 0.3, "l2": 0.2}, {"l1": 0.3, "l2": 0.2}),
    mv.SparseAutoencoder: ({"sparsity": 0.7, "l2": 0.2}, {"sparsity": 0.7, "l2": 0.2}),
    mv.DenoisingAutoencoder: ({"l2": 0.2}, {"l2": 0.2}),
    mv.ContractiveAutoencoder: ({"contraction": 0.7, "l1": 0.3}, {"contraction": 0.7, "l1": 0.3}),
    mv.QuantizedAutoencoder: ({}, {}),
    mv.VAE: (AFTER_ONE, {"kl": 0.75}),
    mv.IWAE: ({}, {"reconstruction": 0, "negative_bound": 1}),
    mv.BetaTCVAE: (
        {"alpha": 2.0, "beta": 7.0, "gamma": 0.5},
        {"kl": 2, "batch_total_correlation": 5, "batch_dimension_wise_kl": -1.5},
    ),
    mv.InfoVAE: ({"kl_weight": 0.3, "mmd_weight": 5.0}, {"kl": 0.3, "mmd": 5}),
    mv.DIPVAE: ({"off_diagonal": 3.0, "diagonal": 2.0}, {"kl": 1, "covariance_penalty": 1}),
    mv.FlowVAE: (AFTER_ONE, {"kl": 0.75}),
    mv.LearnedPriorVAE: (AFTER_ONE, {"kl": 0.75}),
    mv.TwoLayerVAE: (AFTER_ONE, {"kl": 0.75}),
    mv.TwoLayerIWAE: ({}, {"reconstruction": 0, "negative_bound": 1}),
    mv.CategoricalVAE: (AFTER_ONE, {"kl": 0.75}),
    mv.VQVAE: ({"commitment": 0.7, "codebook": "gradient"}, {"commitment": 0.7, "codebook": 1}),
    mv.ConditionalVAE: (AFTER_ONE, {"kl": 0.75}),
    mv.VAEClassifier: (AFTER_ONE, {"kl": 0.75}),
    mv.SemiSupervisedVAE: (AFTER_ONE | {"classification_weight": 6.0}, {"kl": 0.75, "label_kl": 1, "classification": 6}),
}


@every_model
def test_the_loss_is_the_sum_of_the_terms_by_their_weights(kind):
    """As each docstring states it; and a summary has all terms, and the bound on log p(x) that they make."""
    settings, weights = LOSSES[kind]
    model = blank(kind, Y, **settings)
    terms = model.terms(X, np.random.default_rng(0), model.encode_condition(Y, len(X)))
    means = {name: float(term.data.mean()) for name, term in terms.items() if not name.startswith("_")}
    expected = sum(weight * means[name] for name, weight in ({"reconstruction": 1} | weights).items())
    assert model.loss(terms, 1).item() == pytest.approx(expected, rel=1e-10)
    summary = model.summarize(means)
    bounds = {"elbo": -sum(means.get(name, 0) for name in ("reconstruction", "kl", "label_kl"))} if "kl" in means else {}
    bounds |= {"iw_bound": -means.pop("negative_bound")} if "negative_bound" in means else {}
    bounds |= {"bound": -means["reconstruction"] - 3 * np.log(64)} if kind is mv.VQVAE else {}
    assert summary == pytest.approx(means | bounds, rel=1e-12)


COUPLED = {  # what depends on the company of an example, where any such setting is not 0
    mv.SparseAutoencoder: [({"penalty": "l1"}, ""), ({"penalty": "kl"}, "penalty")],
    mv.VAE: [({}, ""), ({"free_bits": 0.1}, "free_bits"), ({"capacity": 2.0}, "capacity")],
    mv.BetaTCVAE: [({}, "estimator")],
    mv.InfoVAE: [({"mmd_weight": 1.0}, "mmd_weight"), ({"mmd_weight": 0.0}, "")],
    mv.DIPVAE: [
        ({"off_diagonal": 1.0, "diagonal": 0.0}, "off_diagonal"),
        ({"off_diagonal": 0.0, "diagonal": 1.0}, "diagonal"),
        ({"off_diagonal": 0.0, "diagonal": 0.0}, ""),
    ],
    mv.VQVAE: [({"codebook": "moving_average"}, "codebook"), ({"codebook": "gradient"}, "")],
}


@every_model
def test_a_model_knows_which_setting_couples_the_examples_of_a_batch(kind):
    for settings, coupling in COUPLED.get(kind, [({}, "")]):
        assert kind(**settings).couples_examples() == coupling


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
def test_one_is_the_least_of_every_count(kind):
    counts = dict.fromkeys(("latent_dim", "batch_size", "epochs", "patience"), 1)
    kind(**counts | {"hidden_dims": (1,), "device": "cpu"}).fit(X[:6], Y[:6])


@every_model
def test_estimates_take_at_least_one_sample(kind):
    model = blank(kind, Y)
    for use in (model.elbo, model.log_likelihood, model.importance_estimate):
        assert "n_samples: expected a whole number from 1 to" in complaint(InputError, use, X, n_samples=0, y=Y)
        use(X, n_samples=1, y=Y)


@every_model
def test_a_temperature_is_no_less_than_nothing(kind):
    model = blank(kind, Y)
    for temperature in (-0.1, np.nan, "hot"):
        words = complaint(InputError, model.reconstruct, X, temperature, y=Y)
        assert words.startswith("temperature: expected a finite number of at least 0")


@every_model
def test_the_standard_error_and_the_effective_sample_size_tell_of_the_same_weights(kind):
    """By their definitions n / ESS = n Σw² / (Σw)², and the squared error is (n / ESS − 1) / (n − 1)."""
    estimate = blank(kind, Y).importance_estimate(X, 50, y=Y)
    expected = np.sqrt(np.maximum(50 / estimate.effective_sample_size - 1, 0) / 49)
    np.testing.assert_allclose(estimate.standard_error, expected, rtol=1e-6, atol=1e-7)


@every_model
def test_history_holds_plain_numbers(kind):
    """JSON writes Python's own numbers; of NumPy's only some pass for them."""
    history = blank(kind, Y).history_
    assert {"epoch", "seconds", "active_units", "train_loss", "train_reconstruction"} <= set(history)
    for name, values in history.items():
        for value in values:
            numbers = value if isinstance(value, list) else [value]
            assert {type(number) for number in numbers} <= {int, float}, name


@every_model
def test_draws_of_the_prior_are_codes(kind):
    """Of the shape and the dtype in which the model decodes them."""
    model = blank(kind, Y, dtype="float32")
    z = model.draw_prior(5, model._generator("sample", 0))
    assert (z.shape, z.dtype) == ((5, model.latent_width()), np.float32)


@every_model
def test_results_have_the_dtype_of_the_model(kind):
    x = X.astype("float32")
    model = blank(kind, Y, x, dtype="float32")
    codes = model.encode(x, Y)
    made = [*codes, model.decode(codes[0], Y), model.sample(3, y=2), model.reconstruct(x, y=Y), model.reconstruct(x, 0.5, y=Y)]
    condition = model.encode_condition(Y, len(x))
    terms = model.terms(x, np.random.default_rng(0), None if condition is None else condition.astype("float32"))
    made += [model.loss(terms), *terms.values()]
    assert {array.dtype for array in made} == {np.dtype("float32")}


@every_model
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_units_are_active_whose_mean_varies(kind, share, monkeypatch):
    """By the mean of q(z|x) alone; of a latent that is a vector, its entries' variances added up."""
    model = blank(kind, Y)
    mean = model.posterior(X, model.encode_condition(Y, len(X)))[0].data
    variances = mean.var(axis=0).reshape(model.latent_dim, -1).sum(axis=1)
    bound = np.quantile(variances, share)
    monkeypatch.setattr("minivae.evaluation.estimators.ACTIVE_VARIANCE", bound)
    assert model.evaluate(model._rows(X, Y))[1]["active_units"] == (variances > bound).sum()


@every_model
def test_whatever_is_asked_of_a_blank_model_it_says_that_it_has_to_be_fitted(kind):
    model = kind(**TINY)
    uses = dict.fromkeys(("encode", "transform", "score_samples", "anomaly_score", "score"), (X, Y))
    uses |= {"decode": (X[:, : model.latent_width()],), "inverse_transform": (X[:, : model.latent_width()],)}
    uses |= dict.fromkeys(("elbo", "log_likelihood", "importance_estimate", "predict", "predict_proba"), (X,))
    uses |= {"sample": (3,), "certificate": (3,), "interpolate": (X[0], X[1]), "traverse": (X[0], 0)}
    uses |= {"reconstruct": (X, 0.5), "change_condition": (X, Y, Y)}
    for name, arguments in uses.items():
        if hasattr(model, name):
            refusal = complaint(NotFittedError, getattr(model, name), *arguments)
            assert refusal.startswith(f"{kind.__name__}: expected a fitted model"), name


@pytest.mark.parametrize("base", [Model, Classifier], ids=lambda base: base.__name__)
def test_a_new_kind_of_model_is_told_what_it_has_not_said(base):
    """A method that returned None would fail somewhere else, in words about something else."""
    unsaid = [("code_width",), ("posterior", X), ("terms", X, None), ("loss", {})]
    unsaid += [("class_log_probabilities", X)] if base is Classifier else []
    for name, *arguments in unsaid:
        with pytest.raises(NotImplementedError):
            getattr(base(), name)(*arguments)


@pytest.mark.parametrize("part", [Manners.latent_width, Manners._make_parameters, Manners._require_fit, Keeping._require_finite])
def test_a_part_of_a_model_is_none(part):
    """Copying and keeping in files are of use to a model alone, which says what they ask."""
    with pytest.raises(NotImplementedError):
        part(*[None] * part.__code__.co_argcount)


class InDoubles:
    """A generator that draws in float64 and hands out in what it is asked for: the same noise for both."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(2)

    def standard_normal(self, shape, dtype):
        return self.rng.standard_normal(shape).astype(dtype)

    def random(self, shape, dtype):
        return self.rng.random(shape).astype(dtype)


@every_model
def test_gradients_in_float32_are_those_in_float64(kind):
    """Gradients are proven in float64 and used in float32: nothing may be cut off, or another way, in one of them alone."""
    found = []
    for dtype in ("float64", "float32"):
        model = blank(kind, Y, dtype=dtype, likelihood="gaussian_shared")
        x, condition = X.astype(dtype), model.encode_condition(Y, len(X))
        condition = None if condition is None else condition.astype(dtype)
        found.append(gradients(model, model.loss(model.terms(x, InDoubles(), condition))))
    for name, exact in found[0].items():
        # Roundings of 6e-8 through six layers and back, some tens of terms in each sum: a few 1e-6 of the largest entry.
        np.testing.assert_allclose(found[1][name], exact, atol=1e-4 * max(1e-3, np.abs(exact).max()), err_msg=name)
