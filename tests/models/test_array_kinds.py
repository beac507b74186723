"""Data come in many containers and shapes, and mean the same in all of them."""

from __future__ import annotations

import types

import numpy as np
import pytest
from support.helpers import complaint

import minivae as mv
from minivae.checks import InputError
from minivae.evaluation.anomaly import auroc

X = np.random.default_rng(0).integers(0, 2, (40, 12)).astype("float32") * 0.5
MODEL = mv.VAE(hidden_dims=(5,), latent_dim=2, epochs=1, batch_size=20, device="cpu").fit(X)


class Own(np.ndarray):
    """A subclass, as the views of other libraries are."""


class InFile:
    """What a dataset of HDF5 looks like: a shape, a dtype, and an array when one is asked for."""

    shape, dtype, ndim = X.shape, X.dtype, 2

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return X[index]

    def __array__(self, dtype=None, copy=None):
        return np.asarray(X, dtype)


KINDS = {
    "list": X.tolist,
    "tuple of arrays": lambda: tuple(X),
    "objects": lambda: X.astype(object),
    "subclass": lambda: X.view(Own),
    "in a file": InFile,
    "sparse": lambda: types.SimpleNamespace(toarray=lambda: X),
    "mask that hides nothing": lambda: np.ma.array(X, mask=False),
    "images": lambda: X.reshape(40, 3, 4),
    "images with a channel": lambda: X.reshape(40, 3, 4, 1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_container_is_fitted_and_used(kind: str) -> None:
    x = KINDS[kind]()
    model = mv.VAE(hidden_dims=(5,), latent_dim=2, epochs=1, batch_size=20, device="cpu").fit(x, x_test=x)
    np.testing.assert_array_equal(model.parameters_.values, MODEL.parameters_.values)
    for use in ("transform", "elbo", "score_samples", "reconstruct", "anomaly_score"):
        found = getattr(model, use)(x)
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, getattr(MODEL, use)(X))


@pytest.mark.parametrize("kind", ["list", "in a file", "images"])
def test_classifiers_take_them_too(kind: str) -> None:
    x, y = KINDS[kind](), np.arange(40) % 2
    for model in (mv.VAEClassifier, mv.SemiSupervisedVAE):
        fitted = model(hidden_dims=(5,), latent_dim=2, epochs=1, batch_size=20, device="cpu").fit(x, y)
        assert fitted.score(x, y.tolist()) == fitted.score(X, y)


def test_data_frames_series_and_sparse_matrices() -> None:
    pandas, sparse = pytest.importorskip("pandas"), pytest.importorskip("scipy.sparse")
    np.testing.assert_array_equal(MODEL.transform(pandas.DataFrame(X)), MODEL.transform(X))
    np.testing.assert_array_equal(MODEL.transform(sparse.csr_matrix(X)), MODEL.transform(X))
    scores, strange = np.arange(10.0), np.arange(10) > 6
    assert auroc(pandas.Series(scores), pandas.Series(strange)) == auroc(scores.tolist(), strange.tolist()) == 1


def test_masked_entries_are_refused() -> None:
    masked = np.ma.array(X, mask=X > 0.4)
    for call in (MODEL.fit, MODEL.transform, MODEL.elbo):
        assert "without masked entries" in complaint(InputError, call, masked)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_rounding_adds_to_one_is_one(dtype: str) -> None:
    x = X.astype(dtype)
    x[0, 0], x[1, 1] = np.nextafter(np.array([1, 0], dtype), np.array([2, -1], dtype))
    MODEL.elbo(x)
    x[0, 0] = 1.001
    assert "values in [0, 1]" in complaint(InputError, MODEL.elbo, x)


def test_latents_are_no_pixels() -> None:
    z = np.array([[1, 2]], np.uint8)
    np.testing.assert_array_equal(MODEL.decode(z), MODEL.decode(z.astype("float32")))
    np.testing.assert_array_equal(MODEL.decode([[1, 2]]), MODEL.decode(z.astype("float32")))


@pytest.mark.parametrize("shape", [(40, 3, 4), (40, 3, 4, 1), (40, 1, 3, 4)])
def test_images_in_a_file_keep_their_shape(shape: tuple[int, ...], tmp_path) -> None:
    np.save(tmp_path / "x.npy", X.reshape(shape))
    np.savez(tmp_path / "x.npz", x=X.reshape(shape), x_test=X.reshape(shape))
    for name in ("x.npy", "x.npz"):
        train, test = mv.datasets.load(tmp_path / name)
        assert train.image_shape == test.image_shape == (3, 4)
        np.testing.assert_array_equal(np.concatenate([train.x, test.x])[:40], X)
