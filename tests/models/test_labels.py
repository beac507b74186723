"""−1 means that an example has no label: for a model's class, for a bound, for an accuracy, for a picture."""

from __future__ import annotations

import numpy as np
import pytest
from support.helpers import complaint

import minivae as mv
from minivae.checks import InputError
from minivae.datasets import Dataset
from minivae.datasets.labels import classes_in, has_label, name_of
from minivae.models.conditions import as_labels
from minivae.runs.scores import score
from minivae.runs.selection import choose, labelled, some_classes

X = np.random.default_rng(0).uniform(0, 1, (60, 6)).astype("float32")
Y = np.where(np.arange(60) % 2, np.arange(60) % 3, -1)
TINY = {"hidden_dims": (5,), "latent_dim": 2, "epochs": 1, "batch_size": 20, "device": "cpu"}


def test_what_a_label_is():
    np.testing.assert_array_equal(has_label([0, -1, 3]), [True, False, True])
    np.testing.assert_array_equal(has_label(np.array(["cat", "-1"])), [True, False])
    np.testing.assert_array_equal(classes_in(np.array([3, -1, 0])), [0, 3])
    assert (name_of(-1), name_of("-1"), name_of(4)) == ("no label", "no label", "4")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [mv.SemiSupervisedVAE, mv.VAEClassifier])
def test_no_label_is_no_class(kind):
    names = np.array(["cat", "dog", "eel", "-1"])[Y]
    animals = ["cat", "dog", "eel"]
    for y, classes in ((Y, [0, 1, 2]), (names, animals), (np.array([*names[:-1], -1], object), animals)):
        assert kind(**TINY).fit(X, y).classes_.tolist() == classes
    for y in (np.where(Y == -1, -1, 1), np.full(60, 4)):
        assert "at least two classes" in complaint(InputError, kind(**TINY).fit, X, y)
    model = kind(**TINY).fit(X, Y)
    right = (model.predict(X) == Y)[Y >= 0].mean()
    assert model.score(X, Y) == right
    test = Dataset(X, Y, None, "test")
    figures = score(model, test, 2, 60)
    assert (figures["accuracy"], figures["n_labelled"]) == (right, 30)
    assert "accuracy" not in score(model, Dataset(X, np.full(60, -1), None, "test"), 2, 60)


def test_a_conditional_model_needs_a_label_for_each_row():
    assert "got -1 at row 0" in complaint(InputError, mv.ConditionalVAE(**TINY).fit, X, Y)
    assert "got -1" in complaint(InputError, mv.ConditionalVAE(**TINY).fit(X[1::2], Y[1::2]).elbo, X, y=Y)


def test_bounds_of_rows_with_a_label_and_without():
    model = mv.SemiSupervisedVAE(**TINY).fit(X, Y)
    for compute in (model.elbo, lambda x, y=None: model.log_likelihood(x, 7, y=y)):
        mixed, known = compute(X, y=Y), Y >= 0
        np.testing.assert_allclose(mixed[known], compute(X[known], y=Y[known]), rtol=1e-5)
        np.testing.assert_allclose(mixed[~known], compute(X[~known]), rtol=1e-5)


def test_what_needs_a_label_takes_the_most_probable_one():
    model = mv.SemiSupervisedVAE(**TINY).fit(X, Y)
    filled = np.where(Y >= 0, Y, model.predict(X))
    assert model.fill_labels(X, Y) == filled.tolist()
    np.testing.assert_array_equal(model.reconstruct(X, y=Y), model.reconstruct(X, y=filled))
    np.testing.assert_array_equal(model.reconstruct(X), model.reconstruct(X, y=model.predict(X)))
    path = model.interpolate(X[0], X[1], y=-1, y_end=Y[1])
    np.testing.assert_array_equal(path, model.interpolate(X[0], X[1], y=filled[0], y_end=Y[1]))
    np.testing.assert_array_equal(model.traverse(X[0], 1, y=-1), model.traverse(X[0], 1, y=filled[0]))


def test_what_is_shown_is_of_classes():
    test = Dataset(X, Y, None, "test")
    assert Y[choose(test, 3)].tolist() == [0, 1, 2]
    assert some_classes(mv.SemiSupervisedVAE(**TINY).fit(X, Y), 4).tolist() == [0, 1, 2, 0]
    assert some_classes(mv.VAE(**TINY).fit(X), 4) is None
    assert len(labelled(test)) == 30
    nobody = labelled(Dataset(X, np.full(60, -1), None, "test"))
    assert (len(nobody), nobody.y) == (60, None)


# What a label may be ------------------------------------------------------------------------------------------------------------

KEPT = {
    "truth values": np.array([False, True]),
    "strings": np.array(["a b", "\N{SNOWMAN}"]),
    "odd strings": np.array(["", "line\n\x1b[31m"]),
    "surrogates": np.array(["\ud800", "b"]),
    "objects": np.array([3, 7], object),
    "the ends of the whole numbers": np.array([-(2**63), 2**63 - 1]),
    "bytes of a picture": np.array([0, 255], "uint8"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [mv.VAEClassifier, mv.ConditionalVAE, mv.SemiSupervisedVAE], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("classes", KEPT.values(), ids=list(KEPT))
def test_every_label_that_is_learned_is_kept_in_the_file(kind, classes, tmp_path):
    labels = classes[np.arange(len(X)) % 2]
    model = kind(**TINY).fit(X, labels)
    assert model.classes_.tolist() == sorted(classes.tolist())
    model.save(tmp_path / "model")
    again = mv.load(tmp_path / "model", device="cpu")
    assert again.classes_.tolist() == model.classes_.tolist()
    np.testing.assert_array_equal(again.elbo(X, y=labels), model.elbo(X, y=labels))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (np.array([3, 2**63 + 5], "uint64"), "a whole number from -9223372036854775808 to"),
        (np.array([1, 10**30], object), "a whole number from -9223372036854775808 to"),
        (np.array([0.0, np.nan]), "use .astype(int) for labels"),
        (np.array([None, 1], object), "got None; write -1 where there is no label"),
        (np.array([np.nan, 1], object), "got nan; write -1 where there is no label"),
        (np.array([[0], [1]]), "one label for each row, of shape (n,), got rows such as [0]; pass one column, such as y.ravel()"),
        (np.array([b"a", b"b"]), "class labels, whole numbers or strings, got b'a'"),
    ],
)
def test_what_is_no_label_is_refused_with_the_mend(given, says):
    message = complaint(InputError, mv.VAEClassifier(**TINY).fit, X, given[np.arange(len(X)) % 2])
    assert says in message


def test_labels_that_are_on_a_device_are_fetched_in_their_own_way():
    """CuPy's arrays have an ``__array__`` that refuses, so ``tolist`` goes first; a table's column may have only ``__array__``."""

    class OnDevice:
        def __array__(self, *_, **__):
            raise TypeError("implicit conversion to NumPy is not allowed")

        def tolist(self):
            return [3, -1, 5]

    class Column:
        def __array__(self, *_, **__):
            return np.array([3, -1, 5])

    for labels in (OnDevice(), Column()):
        assert as_labels(labels, 3) == [3, -1, 5]
