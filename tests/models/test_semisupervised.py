"""Few labels, many examples: models M1 and M2 against their definitions, and against a classifier of raw pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special
from support.family import TINY, K, X, Y, blank, objective, parameters
from support.helpers import complaint, plain_kl, plain_network, plain_nll

import minivae as mv
from minivae.autodiff import backward
from minivae.checks import InputError, NotFittedError
from minivae.evaluation.classifier import fit_classifier
from minivae.nn import MLP
from minivae.ops import mean
from minivae.proof.gradcheck import gradcheck

M1, M2 = mv.VAEClassifier, mv.SemiSupervisedVAE
PARTLY = np.where(np.arange(29) % 3, -1, Y)  # a third has a label
C = 5


def softmax(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits)
    return p / p.sum(axis=1, keepdims=True)


def classifier_logits(model, x: np.ndarray) -> np.ndarray:
    """Return what the classifier makes of its inputs, in plain NumPy."""
    state = {name: p.data for name, p in parameters(model).items()}
    depth = sum(name.startswith("classifier") for name in state) // 2
    for i in range(depth):
        x = x @ state[f"classifier.{i}.weight"] + state[f"classifier.{i}.bias"]
        x = np.tanh(x) if i < depth - 1 else x
    return x


def minus_bounds(model, x: np.ndarray, epsilon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return −log p(x|y, z) and KL(q(z|x, y) ‖ p(z)) for every example and label, each (n, c); noise is (n, c, k)."""
    nll, kl = np.empty((2, len(x), C))
    for y in range(C):
        hot = np.tile(np.eye(C)[y], (len(x), 1))
        mean, log_var = np.split(plain_network(model, "encoder", np.hstack([x, hot])), 2, axis=1)
        z = mean + np.exp(0.5 * log_var) * epsilon[:, y]
        nll[:, y] = plain_nll(model, x, plain_network(model, "decoder", np.hstack([z, hot])))
        kl[:, y] = plain_kl(mean, log_var)
    return nll, kl


def few_labels(y: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Return labels of which all but some of every class are hidden."""
    rng, hidden = np.random.default_rng(seed), np.full(len(y), -1)
    for label in np.unique(y):
        hidden[rng.permutation(np.flatnonzero(y == label))[:per_class]] = label
    return hidden


# -- M2 -------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("y", [Y, PARTLY], ids=["labelled", "partly"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian_shared"])
def test_gradient_of_the_objective(likelihood, y):
    model = blank(M2, y, likelihood=likelihood, beta=2.0, classification_weight=3.0)
    gradcheck(objective(model, y=y), parameters(model))


def test_objective_against_its_definition():  # (G.8)
    model = blank(M2, PARTLY, classification_weight=3.0)
    nll, kl = minus_bounds(model, X, np.random.default_rng(2).standard_normal((C, 29, K)).swapaxes(0, 1))
    q = softmax(classifier_logits(model, X))
    labelled_bound = nll + kl + math.log(C)  # L(x, y) = −log p(x|y, z) − log p(y) + KL
    known = PARTLY >= 0
    u = (q * labelled_bound).sum(axis=1) + (q * np.log(q)).sum(axis=1)  # U(x) = Σ q L − H(q)
    each = np.where(known, labelled_bound[np.arange(29), PARTLY], u)
    supervised = -np.log(q[np.arange(29), PARTLY])[known].mean()
    terms = model.terms(X, np.random.default_rng(2), model.encode_condition(PARTLY, 29))
    np.testing.assert_allclose(sum(terms[name].data for name in ("reconstruction", "kl", "label_kl")), each, rtol=1e-10)
    assert terms["classification"].data.mean() == pytest.approx(supervised)
    assert model.loss(terms).item() == pytest.approx(each.mean() + 3 * supervised)
    weighted = blank(M2, PARTLY, beta=4.0).loss(terms).item()
    assert weighted == pytest.approx((each + 3 * terms["kl"].data).mean() + 10 * supervised)
    model.beta, model.warm_up_epochs = 2.0, 4
    early = model.loss(terms, 1).item()
    assert early == pytest.approx((each - 0.5 * terms["kl"].data).mean() + 3 * supervised)
    report = model.summarize({name: float(value.data.mean()) for name, value in terms.items()} | {"loss": 1.0})
    assert report["elbo"] == pytest.approx(-each.mean())


def test_classification_term_and_score_are_means_over_labelled_rows():
    one = np.full(29, -1)
    one[4] = 2
    model = blank(M2, PARTLY)
    loss = model.terms(X, np.random.default_rng(0), model.encode_condition(one, 29))["classification"].data.mean()
    assert loss == pytest.approx(-np.log(softmax(classifier_logits(model, X))[4, 2]))
    right = model.score(X, one)
    assert type(right) is float
    assert right == (model.predict(X[4:5])[0] == 2)


def test_a_batch_without_labels_has_nothing_to_classify():
    model = blank(M2, PARTLY)
    terms = model.terms(X[:2], np.random.default_rng(0), model.encode_condition(np.full(2, -1), 2))
    np.testing.assert_array_equal(terms["classification"].data, 0)
    assert math.isfinite(model.loss(terms).item())


@pytest.mark.slow
def test_the_bound_without_a_label_is_below_log_p_x():
    """On average over the rows by far, and in each row within the errors of the two estimates, which are up to 0.15 nats."""
    model = blank(M2, PARTLY)
    estimate, bound = model.importance_estimate(X, 1000), model.elbo(X, 200)
    assert estimate.n_samples == 1000
    assert ((estimate.effective_sample_size > 1) & (estimate.effective_sample_size <= 1000)).all()
    assert (bound < estimate.log_likelihood + 0.3).all()
    assert bound.mean() < estimate.log_likelihood.mean() - 0.3


def test_figures_without_a_label_combine_those_of_every_label():
    """p(x) is the mean of p(x|y), and −U(x) = Σ_y q(y|x) [ELBO(x|y) − log q(y|x)] − log c, with the same noise (G.8)."""
    model = blank(M2, PARTLY)
    given = np.stack([model.log_likelihood(X, 3, y=y) for y in range(C)], axis=1)
    assert (given.std(axis=1) > 0.01).all()
    np.testing.assert_allclose(model.log_likelihood(X, 3), np.log(np.exp(given).mean(axis=1)), rtol=1e-12)
    q = softmax(classifier_logits(model, X))
    bounds = np.stack([model.elbo(X, 2, y=y) for y in range(C)], axis=1)
    np.testing.assert_allclose(model.elbo(X, 2), (q * (bounds - np.log(q))).sum(axis=1) - math.log(C), rtol=1e-10)


def test_likelihoods_of_labels_may_differ_by_more_than_floats_can_express():
    model = blank(M2, PARTLY, likelihood="gaussian_fixed", variance=1e-4)
    given = np.stack([model.log_likelihood(X, 3, y=y) for y in range(C)], axis=1)
    assert np.ptp(given, axis=1).max() > 2000
    np.testing.assert_allclose(model.log_likelihood(X, 3), special.logsumexp(given, axis=1) - math.log(C), rtol=1e-12)
    assert np.isfinite(model.importance_estimate(X, 3)[:3]).all()


def test_where_the_label_says_nothing_an_estimate_is_the_same_without_it():
    """Then p(x|y) is p(x) for every y, and so are its standard error and its effective sample size."""
    model = blank(M2, PARTLY)
    for name in ("encoder.0.weight", "decoder.0.weight"):
        parameters(model)[name].data[-C:] = 0
    without, given = model.importance_estimate(X, 40), model.importance_estimate(X, 40, y=3)
    for found, expected in zip(without, given):
        np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.slow
def test_the_standard_error_without_a_label_covers_the_spread_over_seeds():
    model = blank(M2, PARTLY)
    runs = [model.importance_estimate(X, 300, seed=seed) for seed in range(60)]
    spread = np.std([run.log_likelihood for run in runs], axis=0)
    claimed = np.mean([run.standard_error for run in runs], axis=0)
    # A standard deviation from 60 draws is good to 1/√120 = 9 %, so over 29 rows the mean ratio is to 2 %.
    assert 0.95 < np.mean(claimed / spread) < 2


def test_where_the_label_is_unknown_the_most_probable_one_stands_in():
    model = blank(M2, PARTLY)
    guess = model.predict(X)
    np.testing.assert_array_equal(guess, softmax(classifier_logits(model, X)).argmax(axis=1))
    np.testing.assert_array_equal(model.encode(X), model.encode(X, guess))
    mixed = np.where(np.arange(29) % 2, guess, -1)
    np.testing.assert_array_equal(model.transform(X, mixed), model.transform(X, guess))
    message = complaint(InputError, model.decode, np.zeros((2, K)))
    assert "y: expected a class label for every row that is decoded, got none" in message
    np.testing.assert_array_equal(model.reconstruct(X), model.reconstruct(X, y=guess))
    np.testing.assert_array_equal(model.reconstruct(X, y=guess), model.decode(model.transform(X), guess))
    assert model.sample(6, y=[0, 1, 2, 3, 4, 0]).shape == X[:6].shape


@pytest.fixture(scope="module")
def digits_with_100_labels():
    train, test = mv.datasets.load("digits")
    return train.x, few_labels(train.y, 10, seed=1), test.x, test.y


@pytest.mark.slow
@pytest.mark.trained
def test_m2_with_100_labels_beats_a_classifier_that_has_only_them(digits_with_100_labels):
    """And its labels work through the classification term: without that, accuracy falls."""
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn, the competitor, is absent")
    x, y, test_x, test_y = digits_with_100_labels
    settings = {"latent_dim": 5, "hidden_dims": (128,), "batch_size": 64, "learning_rate": 3e-3, "device": "cpu"}
    accuracy = M2(**settings, epochs=60, classification_weight=1.0).fit(x, y).score(test_x, test_y)
    raw = [linear_model.LogisticRegression(C=c, max_iter=5000).fit(x[y >= 0], y[y >= 0]) for c in (0.1, 1.0, 10.0)]
    assert accuracy > max(model.score(test_x, test_y) for model in raw)
    assert accuracy > M2(**settings, epochs=30, classification_weight=0.0).fit(x, y).score(test_x, test_y) + 0.05


# -- M1 -------------------------------------------------------------------------------------------------------------------


def test_features_are_those_of_a_vae_that_saw_no_label():  # (G.8)
    settings = TINY | {"epochs": 3, "batch_size": 10}
    labelled, hidden = M1(**settings).fit(X, Y), M1(**settings).fit(X, PARTLY)
    np.testing.assert_array_equal(labelled.transform(X), mv.VAE(**settings).fit(X).transform(X))
    np.testing.assert_array_equal(hidden.transform(X), labelled.transform(X))
    assert (hidden.predict_proba(X) != labelled.predict_proba(X)).any()
    again = M1(**settings).fit(X, np.where(PARTLY < 0, -1, Y))  # what the labels of the others are makes no difference
    np.testing.assert_array_equal(again.predict_proba(X), hidden.predict_proba(X))


def test_classifier_is_a_function_of_the_posterior_mean():
    model = M1(**TINY, batch_size=29, epochs=2, classifier_hidden_dims=(4,)).fit(X, PARTLY)
    expected = softmax(classifier_logits(model, model.transform(X)))
    np.testing.assert_allclose(model.predict_proba(X), expected, rtol=1e-10)
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(expected), rtol=1e-10, atol=1e-14)


def test_classifier_reaches_the_optimum_of_its_convex_loss():
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn, the reference, is absent")
    features, labels = X, Y
    network = MLP("classifier", (7, C), "identity", "glorot", np.random.default_rng(0))
    fit_classifier(network, features, np.eye(C)[labels], weight_decay=0.01)
    # Its loss is the sum over examples + Σ w²/2C: ours times n.
    reference = linear_model.LogisticRegression(C=1 / (0.01 * 29), tol=1e-10, max_iter=10_000).fit(features, labels)
    np.testing.assert_allclose(softmax(network(features).data), reference.predict_proba(features), atol=2e-3)


@pytest.mark.trained
def test_weight_decay_keeps_the_classifier_modest():
    settings = TINY | {"batch_size": 29, "epochs": 2}
    modest, sure = (M1(**settings, weight_decay=decay).fit(X, PARTLY).predict_proba(X).max(axis=1).mean() for decay in (1.0, 0.0))
    assert modest < 0.3 < sure


@pytest.mark.slow
@pytest.mark.trained
def test_m1_with_100_labels(digits_with_100_labels):
    """On 8 × 8 pixels, where raw pixels are good features already (0.89), M1 comes near to them and does not beat them."""
    x, y, test_x, test_y = digits_with_100_labels
    model = M1(latent_dim=20, hidden_dims=(128,), epochs=40, batch_size=64, learning_rate=3e-3, device="cpu").fit(x, y)
    assert model.score(test_x, test_y) > 0.82


# -- both -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [M1, M2])
def test_files_keep_the_classes(kind, tmp_path):
    names = np.array(["ash", "birch", "cedar", "elm", "fir"])
    y = [names[label] if label >= 0 else -1 for label in PARTLY]
    model = blank(kind, y)
    model.save(tmp_path / "model.safetensors")
    again = mv.load(tmp_path / "model.safetensors", device="cpu")
    np.testing.assert_array_equal(again.classes_, names)
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert set(again.predict(X)) <= set(names)
    assert again.get_params() == model.get_params()


@pytest.mark.parametrize("kind", [M1, M2])
def test_score_is_the_accuracy_where_there_is_a_label(kind):
    model = blank(kind, PARTLY)
    guess = model.predict(X)
    assert model.score(X, guess) == 1
    half = np.where(np.arange(29) % 2, guess, (guess + 1) % C)
    assert model.score(X, half) == pytest.approx(14 / 29)
    assert model.score(X, np.where(np.arange(29) % 2, guess, -1)) == 1
    assert "y: expected a label for at least one row" in complaint(InputError, model.score, X, np.full(29, -1))


@pytest.mark.parametrize("kind", [M1, M2])
def test_what_cannot_be_learned_is_refused(kind):
    model = kind(**TINY, batch_size=29)
    assert "y: expected a class label for each row, got none" in complaint(InputError, model.fit, X)
    message = complaint(InputError, model.fit, X, np.full(29, -1))
    assert "y: expected class labels of one kind, whole numbers or strings, got no label" in message
    assert "y: expected 29 labels, one for each row, got 28" in complaint(InputError, model.fit, X, PARTLY[:-1])
    message = complaint(InputError, model.fit, X, PARTLY, X[:2], np.array([0, 9]))
    assert "y_test: expected labels among 0, 1, 2, 3, 4, or -1 where there is none, got 9" in message
    for use in (model.predict, model.predict_proba):
        complaint(NotFittedError, use, X)
    complaint(NotFittedError, model.score, X, Y)


@pytest.mark.parametrize(
    ("kind", "settings", "fragment"),
    [
        (M1, {"weight_decay": -1.0}, "weight_decay: expected"),
        (M1, {"classifier_hidden_dims": 3}, "classifier_hidden_dims: expected a tuple of widths"),
        (M2, {"classification_weight": math.nan}, "classification_weight: expected"),
        (M2, {"free_bits": 0.1}, "free_bits: expected 0.0: this objective has no use for it"),
        (M2, {"capacity": 1.0}, "capacity: expected 0.0: this objective has no use for it"),
        (M2, {"n_samples": 2}, "n_samples: expected 1: this objective has no use for it"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(kind, settings, fragment):
    assert fragment in complaint(InputError, kind(**TINY | settings).fit, X, Y)


def test_few_labels_count_as_much_as_their_mean_says():
    """(G.8): α times the mean over all labelled rows, although most batches hold none of them."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 1, (200, 6)), np.full(200, -1)
    y[:10] = np.arange(10) % 3
    settings = {"epochs": 1, "batch_size": 10, "learning_rate": 1e-300, "dtype": "float64", "device": "cpu"}
    model = mv.SemiSupervisedVAE(hidden_dims=(5,), latent_dim=2, **settings).fit(x, y)
    expected = -model.predict_log_proba(x[:10])[np.arange(10), y[:10]].mean()
    assert model.history_["train_classification"][-1] == pytest.approx(expected, rel=1e-9)
    terms, _ = model.evaluate(model._rows(x, y))
    assert terms["classification"] == pytest.approx(expected, rel=1e-9)
    without = terms["reconstruction"] + terms["kl"] + terms["label_kl"]
    assert terms["loss"] == pytest.approx(without + model.classification_weight * expected, rel=1e-9)
    # The batches' gradients add up to the gradient of that loss: each batch's share of it is without bias.
    whole, rows = np.zeros_like(model.parameters_.values), model._rows(x, y)
    for start in range(0, 200, 10):
        part = slice(start, start + 10)
        terms = model.terms(rows.take(part, None), np.random.default_rng(start), rows.condition(part))
        backward(mean(terms["classification"]), leaves=model.parameters_.parameters.values())
        whole += model.parameters_.gradients / 20
    terms = model.terms(x, np.random.default_rng(0), rows.condition(slice(None)))
    backward(mean(terms["classification"]), leaves=model.parameters_.parameters.values())
    np.testing.assert_allclose(model.parameters_.gradients, whole, rtol=1e-9, atol=1e-12)
