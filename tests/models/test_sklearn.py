"""scikit-learn's manners, judged by scikit-learn: it clones, searches and pipes these models although they do not know it."""

from __future__ import annotations

import numpy as np
import pytest
from support.helpers import complaint

import minivae as mv
from minivae.checks import NotFittedError

sklearn = pytest.importorskip("sklearn", reason="scikit-learn, whose protocol this is about, is absent")

from sklearn.base import clone, is_classifier  # noqa: E402
from sklearn.exceptions import NotFittedError as SklearnNotFitted  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import MinMaxScaler  # noqa: E402
from sklearn.utils import get_tags  # noqa: E402
from sklearn.utils.validation import check_is_fitted  # noqa: E402


def model(**settings) -> mv.VAE:
    defaults = {"latent_dim": 3, "hidden_dims": (17,), "epochs": 2, "batch_size": 50, "learning_rate": 3e-3, "device": "cpu"}
    return mv.VAE(**defaults | settings)


def test_clone_has_the_settings_and_none_of_the_learning(digits):
    original = model(beta=2.0, hidden_dims=(5, 4)).fit(digits[0])
    copy = clone(original)
    assert copy is not original
    assert copy.get_params() == original.get_params()
    with pytest.raises(SklearnNotFitted):
        check_is_fitted(copy)
    check_is_fitted(original)
    complaint(NotFittedError, copy.transform, digits[0])
    np.testing.assert_array_equal(copy.fit(digits[0]).transform(digits[1]), original.transform(digits[1]))


def test_scikit_learn_knows_a_classifier_when_it_sees_one():
    """It then stratifies the folds, and says beforehand that labels are missing."""
    for kind in mv.MODELS.values():
        predicts = hasattr(kind, "predict")
        assert is_classifier(kind()) == predicts
        assert get_tags(kind()).target_tags.required == predicts
        assert get_tags(kind()).transformer_tags.preserves_dtype == []  # what comes out has the dtype of the model
        assert get_tags(kind()).input_tags.sparse


def test_constructor_only_stores_its_arguments():
    strange = object()
    assert mv.VAE(latent_dim=strange).latent_dim is strange
    assert mv.VAE().set_params(beta=strange, seed=3).get_params()["beta"] is strange
    assert mv.VAE(latent_dim=3).get_params(deep=False) == mv.VAE(latent_dim=3).get_params()


@pytest.mark.slow
def test_pipeline_transforms_scores_and_inverts(digits):
    pipe = make_pipeline(MinMaxScaler((0, 1), clip=True), model(epochs=30))
    codes = pipe.fit(16 * digits[0]).transform(16 * digits[1])
    assert codes.shape == (360, 3)
    scaled = pipe[0].transform(16 * digits[1])
    np.testing.assert_array_equal(codes, pipe[1].transform(scaled))
    assert pipe.score(16 * digits[1]) == pytest.approx(pipe[1].log_likelihood(scaled).mean())
    back = pipe.inverse_transform(codes)
    np.testing.assert_array_equal(back, pipe[0].inverse_transform(pipe[1].decode(codes)))
    np.testing.assert_array_equal(clone(pipe).fit_transform(16 * digits[0]), pipe.transform(16 * digits[0]))


@pytest.mark.slow
@pytest.mark.trained
def test_features_classify_digits():
    """G.6: ten numbers of the posterior mean tell which digit it is, far better than the 10 % of guessing."""
    train, test = mv.datasets.load("digits")
    pipe = make_pipeline(model(latent_dim=10, hidden_dims=(61,), epochs=60), LogisticRegression(max_iter=2000))
    assert pipe.fit(train.x, train.y).score(test.x, test.y) > 0.8


@pytest.mark.slow
@pytest.mark.trained
def test_grid_search_prefers_the_model_that_learns(digits):
    grid = {"learning_rate": [1e-6, 3e-3], "latent_dim": np.array([2, 5])}
    search = GridSearchCV(model(epochs=20), grid, cv=2, error_score="raise").fit(digits[0][:400])
    assert search.best_params_["learning_rate"] == 3e-3
    assert search.best_estimator_.transform(digits[1]).shape == (360, search.best_params_["latent_dim"])
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert search.best_score_ == max(scores)
    assert search.score(digits[1]) == search.best_estimator_.score(digits[1])


def test_repr_names_the_settings():
    assert "latent_dim=3" in repr(model())
