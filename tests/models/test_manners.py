"""A model can be copied, pickled and asked for names; scikit-learn's own checks, but for those that are listed with the reason."""

from __future__ import annotations

import copy
import importlib.util
import io
import pickle
import re
import sys

import numpy as np
import pytest
from support.family import X, Y, blank, every_model
from support.helpers import complaint
from support.limits import GIGABYTE, in_child

import minivae as mv
from minivae.checks import InputError, NotFittedError

SMALL = {"latent_dim": 2, "hidden_dims": (8,), "epochs": 2, "batch_size": 8, "device": "cpu"}


def by_joblib(model):
    joblib = pytest.importorskip("joblib", reason="joblib is absent")
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


COPIES = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    **{f"pickle {n}": lambda model, n=n: pickle.loads(pickle.dumps(model, protocol=n)) for n in (2, pickle.HIGHEST_PROTOCOL)},
    "joblib": by_joblib,
}


@pytest.mark.slow
@every_model
@pytest.mark.parametrize("make", COPIES.values(), ids=list(COPIES))
def test_a_copy_is_the_model_and_shares_nothing_with_it(kind, make):
    model = blank(kind, Y)
    model.note_ = ["an attribute", "of the user"]
    again = make(model)
    assert again.get_params() == model.get_params()
    assert (again.history_, again.note_, again.n_features_in_) == (model.history_, model.note_, model.n_features_in_)
    np.testing.assert_array_equal(again.elbo(X, y=Y), model.elbo(X, y=Y))
    np.testing.assert_array_equal(again.sample(3, seed=1, y=2), model.sample(3, seed=1, y=2))
    before = model.transform(X, y=Y)
    again.parameters_.values += 1.0  # the parameters are still views of the one vector
    assert (again.transform(X, y=Y) != before).any()
    np.testing.assert_array_equal(model.transform(X, y=Y), before)
    again.fit(X, Y)


@every_model
@pytest.mark.parametrize("make", COPIES.values(), ids=list(COPIES))
def test_a_model_that_was_not_fitted_is_copied_with_its_settings(kind, make):
    again = make(kind(latent_dim=3, learning_rate=0.5))
    assert again.get_params() == kind(latent_dim=3, learning_rate=0.5).get_params()
    complaint(NotFittedError, again.transform, X)


def test_a_fitted_search_is_pickled():
    search = pytest.importorskip("sklearn.model_selection", reason="scikit-learn is absent").GridSearchCV
    fitted = search(mv.VAE(**SMALL), {"latent_dim": [1, 2]}, cv=2).fit(X)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.transform(X), fitted.transform(X))
    assert again.best_params_ == fitted.best_params_


def test_features_have_names():
    model = blank(mv.VAE)
    assert model.get_feature_names_out().tolist() == ["vae0", "vae1", "vae2"]
    assert model.get_feature_names_out().dtype == object  # scikit-learn's: longer names can be put beside them
    complaint(NotFittedError, mv.VAE().get_feature_names_out)
    message = complaint(InputError, model.set_output, transform="excel")
    assert "transform: expected one of default, pandas, polars, got 'excel'" in message


def test_output_as_a_table():
    pandas = pytest.importorskip("pandas", reason="pandas is absent")
    model = blank(mv.VAE)
    plain = model.transform(X)
    table = model.set_output(transform="pandas").transform(pandas.DataFrame(X, index=np.arange(len(X)) + 7))
    assert list(table.columns) == ["vae0", "vae1", "vae2"]
    assert list(table.index) == list(range(7, 7 + len(X)))
    np.testing.assert_array_equal(table.to_numpy(), plain)
    assert model.interpolate(X[0], X[1], 3).shape == (3, X.shape[1])  # what is computed inside is not a table
    assert type(model.set_output(transform="default").transform(X)) is np.ndarray


def test_output_as_a_table_of_polars():
    """In a process of its own: its threads would be lost in the forks of other tests."""
    if not importlib.util.find_spec("polars"):
        pytest.skip("polars is absent")
    model = blank(mv.VAE)
    plain = model.transform(X)

    def work() -> str:
        table = model.set_output(transform="polars").transform(X)
        np.testing.assert_array_equal(table.to_numpy(), plain)
        return f"{type(table).__module__.partition('.')[0]} {' '.join(table.columns)}"

    assert in_child(work, 8 * GIGABYTE, seconds=60) == "polars vae0 vae1 vae2"


def test_scikit_learns_configuration_asks_for_tables_too():
    """But what the model itself was asked for comes first."""
    pandas = pytest.importorskip("pandas", reason="pandas is absent")
    sklearn = pytest.importorskip("sklearn", reason="scikit-learn is absent")
    model = blank(mv.VAE)
    assert model.set_output() is model
    assert type(model.transform(X)) is np.ndarray
    with sklearn.config_context(transform_output="pandas"):
        table = model.transform(X)  # of an array, whose rows have no names
        assert type(table) is pandas.DataFrame
        assert list(table.columns) == ["vae0", "vae1", "vae2"]
        assert list(table.index) == list(range(len(X)))
        assert type(model.set_output(transform="default").transform(X)) is np.ndarray


def test_without_scikit_learn_the_output_is_an_array(monkeypatch):
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    assert type(blank(mv.VAE).transform(X)) is np.ndarray


WORDS = "it is refused as it should be, in one line of this package's own form, and the check asks for scikit-learn's words"
NOISE = "log p(x) is estimated with random numbers for each row, which are the row's own only if the rows are the same"
REFUSED = {
    "check_n_features_in_after_fitting": WORDS,
    "check_complex_data": WORDS,
    "check_estimators_empty_data_messages": WORDS,
    "check_fit2d_1sample": WORDS,
    "check_fit2d_predict1d": WORDS,
    "check_fit1d": WORDS,
    "check_dtype_object": "numbers in an array of Python objects are taken; for a dict among them it asks for a TypeError",
    "check_methods_sample_order_invariance": NOISE,
    "check_methods_subset_invariance": NOISE,
}


OF_CLASSIFIERS = {
    "check_estimators_unfitted": "NotFittedError is this package's own, since it does without scikit-learn; check_is_fitted knows",
    "check_estimators_nan_inf": "the check gives one class alone, which is refused before x is looked at",
    "check_classifiers_classes": "one of the two classes that it gives is -1, which stands for no label here",
    "check_classifiers_regression_target": WORDS,
    "check_supervised_y_2d": "a column of labels is refused in one line, with the mend, where the check asks for a warning",
    "check_requires_y_none": WORDS,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [mv.VAE, mv.Autoencoder, mv.IWAE, mv.VAEClassifier], ids=lambda kind: kind.__name__)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_own_checks(kind):
    checks = pytest.importorskip("sklearn.utils.estimator_checks", reason="scikit-learn, the judge, is absent")
    model = kind(**SMALL, likelihood="gaussian_fixed")
    known = REFUSED | (OF_CLASSIFIERS if hasattr(kind, "predict") else {})
    results = checks.check_estimator(model, expected_failed_checks=known, on_fail=None, on_skip=None)
    failed = {result["check_name"]: str(result["exception"])[:300] for result in results if result["status"] == "failed"}
    assert not failed
    assert sum(result["status"] == "passed" for result in results) >= 30


# What scikit-learn's users write: random_state and verbose -----------------------------------------------------------------------


def fitted(**settings):
    return mv.VAE(**SMALL | settings).fit(X)


def test_a_random_state_is_the_seed():
    """A whole number is the seed under another name, and no setting is changed by a fit."""
    by_name, by_seed = fitted(random_state=7), fitted(seed=7)
    np.testing.assert_array_equal(by_name.parameters_.values, by_seed.parameters_.values)
    np.testing.assert_array_equal(by_name.elbo(X), by_seed.elbo(X))
    np.testing.assert_array_equal(by_name.sample(3), by_seed.sample(3))
    assert by_name.get_params()["random_state"] == 7
    assert by_name.get_params()["seed"] == 0
    assert by_name.seed_ == 7
    np.testing.assert_array_equal(fitted(random_state=np.int64(7)).transform(X), by_seed.transform(X))
    np.testing.assert_array_equal(fitted(seed=7, random_state=None).transform(X), by_seed.transform(X))


@pytest.mark.parametrize("make", [np.random.RandomState, np.random.default_rng])
def test_a_generator_gives_each_fit_another_seed(make, tmp_path):
    """As in scikit-learn; the file has the seed that was drawn, so the model can be had again from what it says."""
    model = fitted(random_state=make(3))
    first = model.seed_
    model.fit(X)
    assert model.seed_ != first
    assert 2**24 < max(model.seed_, first) < 2**31  # so that hardly any two fits have the same
    assert type(first) is int
    np.testing.assert_array_equal(fitted(random_state=make(3)).transform(X), fitted(seed=first).transform(X))
    model.save(tmp_path / "model")
    again = mv.load(tmp_path / "model", device="cpu")
    assert again.seed_ == again.seed == model.seed_
    np.testing.assert_array_equal(again.elbo(X), model.elbo(X))
    np.testing.assert_array_equal(mv.VAE(**again.get_params()).fit(X).transform(X), model.transform(X))
    assert pickle.loads(pickle.dumps(model)).seed_ == model.seed_


@pytest.mark.parametrize("value", ["0", -1, 1.5, True, np.random])
def test_another_random_state_is_refused(value):
    message = complaint(InputError, mv.VAE(random_state=value).fit, X)
    assert "random_state: expected a whole number of at least 0" in message
    assert "or pass None, a RandomState or a Generator" in message


@pytest.mark.parametrize("x_test", [None, X])
def test_verbose_prints_a_line_for_every_epoch(x_test, capsys):
    seen = []
    mv.VAE(**SMALL, verbose=1).fit(X, x_test=x_test, on_epoch=lambda trainer: seen.append(trainer.epoch))
    lines = capsys.readouterr().out.splitlines()
    number = r"\d+\.\d\d"
    tested = f", test_loss {number}" if x_test is not None else ""
    assert len(lines) == 2
    for n, line in enumerate(lines, 1):
        assert re.fullmatch(rf"epoch {n}/2: train_loss {number}{tested}, {number} s", line)
    assert seen == [1, 2]  # the hook is still called
    fitted(verbose=False)
    assert capsys.readouterr().out == ""
