"""Ops, likelihoods and models that users write: they work like the package's own, and a step that is forgotten is named.

The three examples of ``minivae/study/extending.md`` are run by ``test_readme.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats
from support.family import TINY, D, X
from support.helpers import complaint

import minivae as mv
from minivae.checks import WrongGradientError
from minivae.ops import absolute, mean, square, sum_, tanh
from minivae.pages.explore import decoder_of
from minivae.training.mpi import check_can_be_shared

RNG = np.random.default_rng(5)
SMALL = TINY | {"epochs": 3, "batch_size": 10}


# Ops ----------------------------------------------------------------------------------------------------------------------------


def cube_op(forward=lambda xp, x: (x**3, (x,)), backward=lambda xp, saved, g, needs: (3 * saved[0] ** 2 * g,)) -> mv.Op:
    return mv.Op("cube", forward, backward, args=("x",))


def test_own_op_is_checked_by_gradcheck():
    assert mv.gradcheck(cube_op(), {"x": RNG.standard_normal((4, 3))}).relative_error < 1e-9
    with pytest.raises(WrongGradientError, match="cube: gradient with respect to x"):
        mv.gradcheck(cube_op(backward=lambda xp, saved, g, needs: (2 * saved[0] ** 2 * g,)), {"x": RNG.standard_normal((4, 3))})


@pytest.mark.parametrize("rows", [2, 5])
def test_forgotten_saved_is_named(rows):
    """Also for an array of two rows, which could be unpacked as if it were a pair."""
    message = complaint(mv.InputError, cube_op(forward=lambda xp, x: x**3), np.ones((rows, 3)))
    assert "cube: forward: expected the result and the tuple" in message
    assert "ndarray alone" in message


FAULTS = {
    "one gradient too few": (lambda xp, saved, g, needs: (g,), "2 gradients in a tuple", "a tuple of 1"),
    "one gradient too many": (lambda xp, saved, g, needs: (g, g, g), "2 gradients in a tuple", "a tuple of 3"),
    "no tuple": (lambda xp, saved, g, needs: g, "2 gradients in a tuple", "ndarray alone"),
    "None for one that is needed": (lambda xp, saved, g, needs: (g, None), "with respect to y", "None"),
    "nothing": (lambda xp, saved, g, needs: None, "2 gradients in a tuple", "NoneType alone"),
    "not summed over the axis of broadcasting": (lambda xp, saved, g, needs: (g, g), "with respect to y", "unbroadcast"),
    "transposed": (lambda xp, saved, g, needs: (g.T, g[0]), "with respect to x", "(3, 4)"),
}


@pytest.mark.parametrize(("backward", "expected", "got"), FAULTS.values(), ids=FAULTS)
def test_fault_of_a_backward_is_named(backward, expected, got):
    plus = mv.Op("plus", lambda xp, x, y: (x + y, ()), backward, args=("x", "y"))
    x, y = (mv.Tensor(RNG.standard_normal(shape), requires_grad=True) for shape in ((4, 3), (3,)))
    message = complaint(WrongGradientError, sum_(tanh(plus(x, y))).backward)
    assert "plus: backward" in message
    assert expected in message
    assert got in message


def test_own_activation_is_named_kept_and_resumed(tmp_path, monkeypatch):
    monkeypatch.setitem(mv.ACTIVATIONS, "cube", cube_op())
    model = mv.VAE(**SMALL | {"activation": "cube", "learning_rate": 1e-4}).fit(X)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(mv.load(tmp_path / "model", device="cpu").transform(X), model.transform(X))
    assert "activation is one of minivae's own" in complaint(mv.InputError, decoder_of, model)
    assert "contractive.SLOPES" in complaint(mv.InputError, mv.ContractiveAutoencoder(**SMALL, code_activation="cube").fit, X)
    monkeypatch.delitem(mv.ACTIVATIONS, "cube")
    message = complaint(mv.DataFileError, mv.load, tmp_path / "model")
    assert "'cube'" in message
    assert message.endswith("one of your own has to be in minivae.ACTIVATIONS first")


# Likelihoods --------------------------------------------------------------------------------------------------------------------


class Laplace(mv.Likelihood):
    def __init__(self, variance, variance_floor, xp, dtype):
        self.b = (variance / 2) ** 0.5

    def nll(self, x, outputs):
        return sum_(absolute(outputs - x), axis=-1) / self.b + x.shape[-1] * float(np.log(2 * self.b))


@pytest.fixture
def laplace(monkeypatch):
    monkeypatch.setitem(mv.LIKELIHOODS, "laplace", Laplace)
    return mv.VAE(**SMALL | {"likelihood": "laplace", "variance": 0.5, "output_bias": "data"}).fit(3 * X)


def test_own_likelihood_scores_and_is_kept(laplace, tmp_path):
    m = laplace.reconstruct(3 * X)
    expected = -stats.laplace.logpdf(3 * X, m, 0.5).sum(axis=1)  # the scale is √(variance/2)
    np.testing.assert_allclose(laplace.likelihood_.nll(3 * X, mv.Tensor(m)).data, expected, rtol=1e-12)
    assert np.isfinite(laplace.log_likelihood(3 * X)).all()
    laplace.save(tmp_path / "model")
    again = mv.load(tmp_path / "model", device="cpu")
    assert type(again.likelihood_) is Laplace
    np.testing.assert_array_equal(again.elbo(3 * X), laplace.elbo(3 * X))
    assert "likelihood is one of minivae's own" in complaint(mv.InputError, decoder_of, laplace)


def test_likelihood_that_is_not_summed_over_features_is_refused(monkeypatch):
    monkeypatch.setitem(mv.LIKELIHOODS, "per_pixel", type("PerPixel", (Laplace,), {"nll": lambda self, x, m: square(m - x)}))
    message = complaint(mv.InputError, mv.VAE(**SMALL | {"likelihood": "per_pixel"}).fit, X)
    assert "VAE.terms: reconstruction: expected shape (10,), one value per example" in message
    assert f"shape (10, {D})" in message


# Models -------------------------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True, eq=False)
class Centred(mv.VAE):
    pull: float = 3.0

    def terms(self, x, rng, condition=None):
        return super().terms(x, rng, condition) | {"offset": square(self.posterior(x)[0][:, 0])}

    def loss(self, terms, epochs_done=float("inf")):
        return super().loss(terms, epochs_done) + self.pull * mean(terms["offset"])

    def couples_examples(self):
        return "pull" if self.pull > 9 else ""


class Undecorated(mv.Autoencoder):
    def loss(self, terms, epochs_done=float("inf")):
        return 2.0 * super().loss(terms, epochs_done)


@dataclass
class Scaled(mv.ConditionalVAE):
    """Learns something beside the parameters."""

    learned = (*mv.ConditionalVAE.learned, "scale_")

    def learn_condition(self, y):
        super().learn_condition(y)
        self.scale_ = np.array([0.5, 2.0])


@pytest.mark.parametrize("kind", [Centred, Undecorated, Scaled])
def test_own_model_is_kept_and_comes_back(kind, tmp_path):
    model = kind(**SMALL).fit(X, np.arange(29) % 3)
    model.save(tmp_path / "model")
    again = mv.load(tmp_path / "model", device="cpu")
    assert type(again) is kind
    assert again.get_params() == model.get_params()
    np.testing.assert_array_equal(again.transform(X, 1), model.transform(X, 1))
    if kind is Scaled:
        np.testing.assert_array_equal(again.scale_, [0.5, 2.0])


def test_new_term_is_in_the_history_and_lowers_itself():
    weak, strong = (Centred(**SMALL | {"pull": pull, "epochs": 20, "learning_rate": 1e-2}).fit(X).history_ for pull in (0.0, 30.0))
    assert strong["train_offset"][-1] < 0.2 * weak["train_offset"][-1]
    terms = {name: strong[f"train_{name}"][-1] for name in ("reconstruction", "kl", "offset", "loss")}
    assert terms["loss"] == pytest.approx(terms["reconstruction"] + terms["kl"] + 30 * terms["offset"])


def test_own_model_goes_on_where_it_stopped(tmp_path):
    keeper = mv.Keeper(tmp_path / "checkpoint", every="1")
    Centred(**SMALL).fit(X, on_start=keeper.on_start, on_step=keeper.on_step, on_epoch=keeper.on_epoch)
    longer = mv.Keeper(tmp_path / "checkpoint")
    resumed = Centred(**SMALL | {"epochs": 5}).fit(X, on_start=longer.on_start)
    whole = Centred(**SMALL | {"epochs": 5}).fit(X)
    np.testing.assert_array_equal(resumed.parameters_.values, whole.parameters_.values)


def test_class_that_is_not_defined_is_asked_for(tmp_path):
    gone = type("Gone", (mv.VAE,), {})
    gone(**SMALL).fit(X).save(tmp_path / "model")
    again = type("Gone", (mv.VAE,), {})  # as when a cell of a notebook is run once more
    assert type(mv.load(tmp_path / "model")) is again
    gone.__name__ = again.__name__ = "Otherwise"
    message = complaint(mv.DataFileError, mv.load, tmp_path / "model")
    assert "'Gone'" in message
    assert "import the module that defines the class" in message


def test_loss_that_couples_examples_says_so_to_several_processes():
    message = complaint(mv.InputError, check_can_be_shared, Centred(**SMALL | {"pull": 10.0}).fit(X))
    assert "pull = 10.0, which looks at a whole batch" in message


@pytest.mark.parametrize(
    ("loss", "got"), [(lambda terms: terms["kl"], "Tensor of shape (8,)"), (lambda terms: 3.0, "float of shape ()")]
)
def test_a_loss_that_is_no_number_on_the_tape_is_named(loss, got):
    class Own(mv.VAE):
        def loss(self, terms, epochs_done=0.0):
            return loss(terms)

    message = complaint(mv.InputError, Own(**SMALL | {"batch_size": 8}).fit, X)
    assert f"Own.loss: expected a tensor of shape (), got {got}; take the mean over the batch" in message


def test_a_likelihood_without_draw_has_means_alone(laplace):
    assert laplace.sample(3).shape == (3, X.shape[1])
    assert "Laplace.draw: expected a method that samples p(x|z)" in complaint(mv.InputError, laplace.sample, 3, pixels="draw")
