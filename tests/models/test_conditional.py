"""The conditional VAE: labels and vectors, what it generates on request, and what it says when the request makes no sense."""

from __future__ import annotations

import numpy as np
import pytest
from support.family import TINY, D, K, X, Y, blank, objective, parameters
from support.helpers import Noise, complaint, plain_kl, plain_network, plain_nll, rewritten

import minivae as mv
from minivae.checks import DataFileError, InputError
from minivae.models.conditions import as_vectors, classes_of, one_hot
from minivae.proof.gradcheck import gradcheck

VECTORS = np.random.default_rng(5).standard_normal((29, 2))
NAMES = np.array(["ash", "birch", "cedar", "elm", "fir"])


@pytest.fixture(scope="module")
def data():
    return mv.datasets.load("digits")


@pytest.fixture(scope="module")
def model(data) -> mv.ConditionalVAE:
    """Trained on the digits and their labels.  Shared: look, don't touch."""
    train, _ = data
    settings = {"latent_dim": 6, "hidden_dims": (128,), "epochs": 60, "learning_rate": 3e-3, "device": "cpu"}
    return mv.ConditionalVAE(**settings).fit(train.x, train.y)


@pytest.fixture(scope="module")
def judge(data):
    """An independent classifier of digits, right on 97 of 100."""
    svm = pytest.importorskip("sklearn.svm", reason="scikit-learn, the independent judge, is absent")
    train, test = data
    svc = svm.SVC().fit(train.x, train.y)
    assert svc.score(test.x, test.y) > 0.97
    return svc


# -- the objective --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("y", [Y, VECTORS], ids=["labels", "vectors"])
def test_gradient_of_the_objective(y):
    model = blank(mv.ConditionalVAE, y, beta=3.0)
    gradcheck(objective(model, y=y), parameters(model))


def test_condition_enters_encoder_and_decoder():  # (A.6)
    model = blank(mv.ConditionalVAE, Y)
    hot, epsilon = np.eye(5)[Y], np.random.default_rng(2).standard_normal((29, K))
    mean, log_var = np.split(plain_network(model, "encoder", np.hstack([X, hot])), 2, axis=1)
    z = mean + np.exp(0.5 * log_var) * epsilon
    terms = model.terms(X, Noise(epsilon), hot)
    nll = plain_nll(model, X, plain_network(model, "decoder", np.hstack([z, hot])))
    np.testing.assert_allclose(terms["reconstruction"].data, nll, rtol=1e-12)
    np.testing.assert_allclose(terms["kl"].data, plain_kl(mean, log_var), rtol=1e-10)
    np.testing.assert_allclose(model.encode(X, Y), (mean, log_var), rtol=1e-12)
    np.testing.assert_allclose(model.decode(z, Y), 1 / (1 + np.exp(-plain_network(model, "decoder", np.hstack([z, hot])))))


@pytest.mark.slow
def test_each_sample_of_an_example_keeps_its_condition():
    """M.6 decodes many samples at a time; by hand they are decoded one example after the other."""
    model = blank(mv.ConditionalVAE, Y)
    together = model.log_likelihood(X, 3000, y=Y)
    error = model.importance_estimate(X, 3000, y=Y).standard_error
    one_by_one = [model.log_likelihood(X[i : i + 1], 3000, y=Y[i])[0] for i in range(len(X))]
    np.testing.assert_allclose(together, one_by_one, rtol=1e-9)  # from the same draws, since those of a row are its own
    assert (error > 0).all()
    mistaken = model.log_likelihood(X, 3000, y=np.roll(Y, 1))  # which is what a condition in the wrong order comes to
    assert (np.abs(mistaken - one_by_one) > 5 * np.sqrt(2) * error).any()


# -- what it is for -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.trained
def test_samples_are_classified_as_the_label_they_were_asked_for(model, judge):  # (A.6)
    wanted = np.repeat(np.arange(10), 40)
    made = model.sample(400, y=wanted)
    assert (judge.predict(made) == wanted).mean() > 0.9
    for label in (3, np.int64(8)):
        assert (judge.predict(model.sample(50, y=label)) == label).mean() > 0.8
    drawn = model.sample(400, y=wanted, pixels="draw")
    assert set(np.unique(drawn)) == {0, 1}


@pytest.mark.slow
@pytest.mark.trained
def test_style_is_kept_while_the_label_changes(model, judge, data):
    _, test = data
    new = (test.y + 1) % 10
    changed = model.change_condition(test.x, test.y, new)
    assert (judge.predict(changed) == new).mean() > 0.85
    # Encoded again, under its new label, a changed image has the style it was made with rather than another's.
    before, after = model.transform(test.x, test.y), model.transform(changed, new)
    distance = np.linalg.norm(before - after, axis=1)
    to_another = np.linalg.norm(before - np.roll(after, 1, axis=0), axis=1)
    assert (distance < to_another).mean() > 0.8  # 0.91 to 0.94 from five seeds, under two kernels; by chance 0.5


@pytest.mark.slow
@pytest.mark.trained
def test_knowing_the_label_explains_something(model, data):
    """Under its own label an example is more probable than under another, and than to a VAE that is not told."""
    train, test = data
    told, mistold = model.log_likelihood(test.x, 50, y=test.y), model.log_likelihood(test.x, 50, y=(test.y + 1) % 10)
    assert (told > mistold).mean() > 0.95
    untold = mv.VAE(**model.get_params()).fit(train.x)
    assert told.mean() > untold.log_likelihood(test.x, 50).mean()
    assert model.score(test.x, test.y) == pytest.approx(model.log_likelihood(test.x, y=test.y).mean())


@pytest.mark.slow
def test_one_label_serves_all_rows(model, data):
    x = data[1].x[:4]
    four = np.full(4, 7)
    np.testing.assert_array_equal(model.sample(4, 1, y=7), model.sample(4, 1, y=four))
    np.testing.assert_array_equal(model.encode(x, 7), model.encode(x, four))
    np.testing.assert_array_equal(model.reconstruct(x, y=7), model.reconstruct(x, y=list(four)))
    np.testing.assert_array_equal(model.elbo(x, y=7), model.elbo(x, y=four))
    assert model.interpolate(x[0], x[1], 5, y=7).shape == (5, 64)
    assert model.traverse(x[0], dim=2, n=5, y=7).shape == (5, 64)


@pytest.mark.parametrize(
    ("learned", "first", "last"),
    [(Y, (1, np.eye(5)[1]), (4, np.eye(5)[4])), (VECTORS, (VECTORS[0], VECTORS[0]), (VECTORS[1], VECTORS[1]))],
    ids=["labels", "vectors"],
)
def test_a_path_goes_in_a_straight_line_from_one_condition_to_another(learned, first, last):
    """(G.3) holds for y as it does for z, so that the path begins and ends at the two reconstructions."""
    model = blank(mv.ConditionalVAE, learned)
    way = model.interpolate(X[0], X[1], 5, y=first[0], y_end=last[0])
    ends = [plain_network(model, "encoder", np.hstack([x, vector])[None])[0, :K] for x, (_, vector) in zip(X, (first, last))]
    for t, picture in zip(np.linspace(0, 1, 5), way):
        z, y = ((1 - t) * a + t * b for a, b in (ends, (first[1], last[1])))
        outputs = plain_network(model, "decoder", np.hstack([z, y])[None])[0]
        np.testing.assert_allclose(picture, 1 / (1 + np.exp(-outputs)), rtol=1e-9)
    np.testing.assert_allclose(way[-1], model.reconstruct(X[1:2], y=last[0])[0], rtol=1e-12)
    same = model.interpolate(X[0], X[1], 5, y=first[0])
    np.testing.assert_allclose(same[-1], model.reconstruct(X[1:2], y=first[0])[0], rtol=1e-12)


@pytest.mark.parametrize("y", [Y, VECTORS], ids=["labels", "vectors"])
def test_a_file_keeps_how_wide_the_condition_is(y, tmp_path):
    model, path = blank(mv.ConditionalVAE, y), tmp_path / "model"
    model.save(path)
    again = mv.load(path, device="cpu")
    assert type(again.condition_width_) is int
    np.testing.assert_array_equal(again.encode(X, y), model.encode(X, y))
    again.save(path)  # what was read can be written again
    rewritten(path, lambda record: record["learned"].update(classes_=[0, 1, 2], condition_width_=4))
    message = complaint(DataFileError, mv.load, path)
    assert "a model, got condition_width_: expected 3, one for each class, got 4" in message


def test_one_vector_stands_for_all_rows():
    np.testing.assert_array_equal(as_vectors(np.array([0.5, 2.0]), 2, 3), [[0.5, 2.0]] * 3)
    np.testing.assert_array_equal(as_vectors([0.5, 2.0], None, 1), [[0.5, 2.0]])


# -- labels and vectors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [NAMES[Y], NAMES[Y].tolist(), NAMES[Y].astype(object), Y, Y.astype(np.uint8), (Y + 3).tolist()])
def test_any_labels_are_the_same_classes(labels, tmp_path):
    model = blank(mv.ConditionalVAE, labels)
    np.testing.assert_array_equal(model.classes_, np.unique(labels))
    by_number = blank(mv.ConditionalVAE, Y)
    np.testing.assert_array_equal(model.encode(X, labels), by_number.encode(X, Y))
    model.save(tmp_path / "model.safetensors")
    again = mv.load(tmp_path / "model.safetensors", device="cpu")
    np.testing.assert_array_equal(again.classes_, model.classes_)
    np.testing.assert_array_equal(again.sample(3, y=labels[0]), model.sample(3, y=labels[0]))


@pytest.mark.slow
def test_any_vector_is_a_condition(tmp_path):
    """The condition is the sum of the first two features: asked for a large one, the model makes it large."""
    x = np.random.default_rng(6).random((400, D))
    y = x[:, :2].sum(axis=1, keepdims=True)
    settings = TINY | {"epochs": 100, "batch_size": 100, "learning_rate": 1e-2, "likelihood": "gaussian_shared"}
    model = mv.ConditionalVAE(**settings).fit(x, y)
    assert len(model.classes_) == 0
    low, high = (model.sample(200, y=np.array([value]))[:, :2].sum(axis=1).mean() for value in (0.5, 1.5))
    assert low == pytest.approx(0.5, abs=0.15)
    assert high == pytest.approx(1.5, abs=0.15)
    model.save(tmp_path / "model.safetensors")
    again = mv.load(tmp_path / "model.safetensors", device="cpu")
    np.testing.assert_array_equal(again.encode(x, y), model.encode(x, y))
    np.testing.assert_array_equal(model.encode(x[:3], np.array([1.0])), model.encode(x[:3], np.ones((3, 1))))


def test_one_hot_rows():
    np.testing.assert_array_equal(one_hot(["b", "a"], np.array(["a", "b"]), 2), [[0, 1], [1, 0]])
    np.testing.assert_array_equal(one_hot([np.int64(1), np.int64(0)], np.array([0, 1]), 2), [[0, 1], [1, 0]])
    np.testing.assert_array_equal(one_hot([True, False], np.array([False, True]), 2), [[0, 1], [1, 0]])
    np.testing.assert_array_equal(one_hot([1, -1], np.array([0, 1]), 2, partial=True), [[0, 1], [0, 0]])
    np.testing.assert_array_equal(one_hot(None, np.array([0, 1]), 3, partial=True), np.zeros((3, 2)))


@pytest.mark.parametrize("label", [["a" * 999], (1.5,) * 999, b"a" * 999], ids=["list", "tuple", "bytes"])
def test_the_refusal_of_a_long_label_is_short(label):
    """The label is cut off; the rest of the line has about 130 letters."""
    assert len(complaint(InputError, one_hot, [label], np.array([0, 1]), 1)) < 200


def test_classes_are_the_different_labels_in_order():
    np.testing.assert_array_equal(classes_of([3, 7, 1, 3]), [1, 3, 7])
    assert "y: expected a label for each row, got -1 at row 1" in complaint(InputError, classes_of, [3, -1, 1, 3])
    np.testing.assert_array_equal(classes_of([3, -1, 1, 3], partial=True), [1, 3])


FIT_REFUSALS = [
    (None, "y: expected a class label for each row, got none"),
    (Y[:-1], "y: expected 29 labels, one for each row, got 28"),
    (Y.astype(float), "y: expected class labels, whole numbers or strings, got 0.0; use .astype(int)"),
    ([*NAMES[Y][:-1], 3], "y: expected class labels of one kind, whole numbers or strings, got int and str"),
    (2.5, "y: expected class labels, whole numbers or strings, got 2.5"),
    (VECTORS[:-1], "y: expected 29 conditions, one for each row, got 28"),
    (np.where(VECTORS > 2, np.nan, VECTORS) * np.inf, "y: expected finite numbers"),
    (VECTORS.astype(str), "y: expected real numbers"),
]


@pytest.mark.parametrize(("y", "fragment"), FIT_REFUSALS, ids=[row[1][:40] for row in FIT_REFUSALS])
def test_conditions_that_cannot_be_learned_are_refused(y, fragment):
    assert fragment in complaint(InputError, mv.ConditionalVAE(**TINY, batch_size=29).fit, X, y)


USE_REFUSALS = [
    (Y, None, "y: expected a class label for each row, got none"),
    (Y, Y[:-1], "y: expected 29 labels, one for each row, got 28"),
    (Y, 7, "y: expected labels among 0, 1, 2, 3, 4, got 7"),
    (Y, -1, "y: expected labels among 0, 1, 2, 3, 4, got -1"),
    (Y, "elm", "y: expected labels among 0, 1, 2, 3, 4, got 'elm'"),
    (VECTORS, None, "y: expected a condition for each row, got none"),
    (VECTORS, VECTORS[:, :1], "y: expected 2 features, as the model was fitted with, got 1"),
    (VECTORS, VECTORS[:5], "y: expected 29 conditions, one for each row, got 5"),
]


@pytest.mark.parametrize(("learned", "y", "fragment"), USE_REFUSALS, ids=[row[2][:50] for row in USE_REFUSALS])
def test_conditions_that_do_not_fit_are_refused(learned, y, fragment):
    model = blank(mv.ConditionalVAE, learned)
    for use in (model.encode, model.elbo, model.reconstruct):
        assert fragment in complaint(InputError, use, X, y=y)
    assert fragment in complaint(InputError, model.sample, 29, y=y)


def test_a_test_set_brings_its_own_labels():
    model = mv.ConditionalVAE(**TINY, batch_size=29, epochs=1)
    message = complaint(InputError, model.fit, X, Y, X[:3], np.array([0, 1, 9]))
    assert "y_test: expected labels among 0, 1, 2, 3, 4, got 9" in message
    assert "y_test: expected a class label for each row, got none" in complaint(InputError, model.fit, X, Y, X[:3])
    assert "test_elbo" in model.fit(X, Y, X[:3], Y[:3]).history_


def test_a_failed_fit_leaves_the_fitted_model_alone():
    model = blank(mv.ConditionalVAE, Y)
    before = model.encode(X, Y)
    for x, y, options in ((X, NAMES, {}), (X[:, :-1] * np.nan, NAMES[Y], {}), (X, NAMES[Y], {"x_test": X, "y_test": Y})):
        complaint(InputError, model.fit, x, y, **options)
        np.testing.assert_array_equal(model.encode(X, Y), before)


def test_under_a_new_condition_what_z_tells_stays():
    model = blank(mv.ConditionalVAE, Y)
    new = (Y + 1) % 5
    np.testing.assert_array_equal(model.change_condition(X, Y, new), model.decode(model.encode(X, Y)[0], new))
    assert (model.change_condition(X, Y, new) != model.reconstruct(X, y=Y)).any()
