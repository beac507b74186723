"""A number that is not finite stops training, and the complaint names the first tensor that it was in."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from support.helpers import complaint

import minivae as mv
from minivae.backend import to_numpy
from minivae.checks import NonFiniteError
from minivae.op import Op
from minivae.ops import mean
from minivae.training.batches import Rows
from minivae.training.diagnosis import is_finite
from minivae.training.keeper import Keeper
from minivae.training.trainer import CHECK_EVERY

X = np.random.default_rng(0).random((103, 7)).astype(np.float32)
SMALL = {"latent_dim": 3, "hidden_dims": (11, 5), "epochs": 30, "batch_size": 20, "device": "cpu"}

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's own, of the very numbers that are injected here


def failure(model: mv.Model, **hooks) -> str:
    return complaint(NonFiniteError, model.fit, X, **hooks)


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("at", [0, 3, 57, 120])
def test_data_that_go_bad_past_the_checks(monkeypatch, wrong, at):
    """What a batch holds is spoiled after it was checked, in one step: that step is named, and the state is that before it."""
    take = Rows.take
    order: list[bytes] = []

    def spoil(self, index, rng):
        x = take(self, index, rng)
        if not isinstance(index, slice):
            key = index.tobytes()
            if key not in order:
                order.append(key)
            if order.index(key) == at:
                x = x.copy()
                x[4 % len(x) :, 2] = wrong
        return x

    monkeypatch.setattr(Rows, "take", spoil)
    model = mv.VAE(**SMALL, likelihood="gaussian_fixed")
    message = failure(model)
    assert "the data batch x, shape" in message
    count = 16 if (at + 1) % 6 else 2  # the last batch of an epoch has three rows
    assert f"{count} {'NaN' if np.isnan(wrong) else 'infinite'}, the rest from" in message
    assert f"in epoch {at // 6 + 1}, at step {at + 1};" in message
    assert "impute" in message
    assert np.isfinite(model.parameters_.values).all()
    monkeypatch.undo()
    expected = mv.VAE(**SMALL, likelihood="gaussian_fixed")
    kept = {}

    def keep(trainer):
        kept[trainer.step] = trainer.model.parameters_.values.copy()

    expected.fit(X, on_step=keep, on_start=keep)
    np.testing.assert_array_equal(model.parameters_.values, kept[at])


NAMES = [f"{part}.{i}.{kind}" for part in ("encoder", "decoder") for i in (0, 1, 2) for kind in ("weight", "bias")]


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_weight_that_a_hook_has_spoiled_is_named(wrong):
    """It is told before the next step of the optimiser has spread it to all weights."""
    tried = 0
    for name in NAMES:
        for at in (0, 1, 17, CHECK_EVERY - 1, CHECK_EVERY, 73):

            def spoil(trainer, at=at, name=name):
                if trainer.step == at:
                    trainer.model.parameters_.parameters[name].data.reshape(-1)[1] = wrong

            model = mv.VAE(**SMALL)
            message = failure(model, on_start=spoil, on_step=spoil)
            shape = model.parameters_.parameters[name].shape
            kind = "NaN" if np.isnan(wrong) else "infinite"
            assert f"the parameter {name}, shape {shape} with 1 {kind}" in message
            assert "in epoch" in message
            if at:  # a good state is at most so many steps old
                assert np.isfinite(model.parameters_.values).all()
            tried += 1
    print(f"{tried} spoiled weights tried, all named")


@pytest.mark.parametrize("settings", [{"learning_rate": 1e300}, {"learning_rate": 1e300, "dtype": "float64"}])
def test_numbers_are_told_as_they_were_when_they_failed(settings):
    """And not as they are in the state that training went back to."""
    message = failure(mv.VAE(**SMALL | settings))
    assert "NaN" in message or "infinite" in message


@pytest.mark.parametrize("with_test", [True, False])
def test_evaluation_after_the_last_step_is_watched_too(digits, with_test):
    x, x_test = digits
    settings = {"epochs": 1, "batch_size": 1437, "learning_rate": 1000, "seed": 2, "hidden_dims": (20,), "latent_dim": 2}
    model = mv.VAE(**settings, output_bias="zeros", device="cpu")
    message = complaint(NonFiniteError, model.fit, x, x_test=x_test if with_test else None)
    assert message.startswith("x_test: " if with_test else "x: ")
    assert "rows for which the model gives finite numbers, got reconstruction = " in message
    assert message.endswith("; train with a lower learning_rate, or scale the data")  # all rows are concerned: not a few bad ones
    assert model.history_ == {}


RATES = {
    "adam": ({"learning_rate": 1e30}, ("after the step of the optimiser", "the output of", "the gradient of")),
    "sgd": ({"learning_rate": 1e8, "optimizer": "sgd"}, ("the output of", "the gradient of", "after the step")),
    "sgd, largest": ({"learning_rate": 1e38, "optimizer": "sgd"}, ("after the step", "the output of")),
    "float64": ({"learning_rate": 1e200, "dtype": "float64"}, ("the output of", "the gradient of", "after the step")),
}


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "gaussian_shared"])
@pytest.mark.parametrize("case", RATES)
def test_learning_rate_that_is_too_high(case, likelihood):
    settings, places = RATES[case]
    model = mv.VAE(**SMALL | settings, likelihood=likelihood)
    message = failure(model)
    assert any(place in message for place in places)
    assert "lower learning_rate" in message
    assert "clip_norm" in message
    assert np.isfinite(model.parameters_.values).all()


def test_op_and_layer_are_named():
    """A weight so large that the product overflows: in the second layer of the encoder, and nowhere before."""

    def enlarge(trainer):
        trainer.model.parameters_.parameters["encoder.1.weight"].data[...] = 3e38

    message = failure(mv.VAE(**SMALL), on_start=enlarge)
    assert "the output of dense in encoder.1, shape (20, 5) with" in message
    assert "at step 1" in message


@pytest.mark.parametrize("name", mv.MODELS)
def test_every_model_says_what_was_first(name):
    def spoil(trainer):
        if trainer.step == 13:
            trainer.optimizer.learning_rate = 1e38

    model = mv.MODELS[name](**SMALL)
    message = complaint(NonFiniteError, model.fit, X, np.arange(103) % 3, on_step=spoil)
    assert "in epoch 3" in message
    assert np.isfinite(model.parameters_.values).all()


@pytest.mark.parametrize("at", [1, CHECK_EVERY - 1, CHECK_EVERY, 170])
def test_it_is_noticed_soon(at):
    seen = []

    def spoil(trainer):
        seen.append(trainer.step)
        if trainer.step == at:
            trainer.model.parameters_.values[0] = np.nan

    failure(mv.VAE(**SMALL), on_step=spoil)
    assert at <= seen[-1] <= at + CHECK_EVERY


def test_it_is_noticed_soon_in_a_long_epoch_and_where_the_loss_stays_finite():
    seen = []

    class EncoderAlone(mv.VAE):
        def loss(self, terms, epochs_done=np.inf):
            return mean(terms["kl"])

    def spoil(trainer):
        seen.append(trainer.step)
        if trainer.step == 3:
            trainer.model.parameters_.parameters["decoder.0.bias"].data[0] = np.nan

    message = failure(EncoderAlone(**SMALL | {"batch_size": 1}), on_step=spoil)
    assert "the parameter decoder.0.bias" in message
    assert seen[-1] < CHECK_EVERY < 103


def test_last_good_state_stays_in_the_file(tmp_path):
    keeper = Keeper(tmp_path / "file", "2")

    def spoil(trainer):
        keeper.on_step(trainer)
        if trainer.step == 50:
            trainer.model.parameters_.values[:] = np.nan

    failure(mv.VAE(**SMALL), on_start=keeper.on_start, on_step=spoil, on_epoch=keeper.on_epoch)
    loaded = mv.load(tmp_path / "file")
    assert np.isfinite(to_numpy(loaded.parameters_.values)).all()
    assert len(loaded.history_["epoch"]) == 8
    whole = mv.VAE(**SMALL | {"epochs": 30}).fit(X)
    keeper = Keeper(tmp_path / "file")
    again = mv.VAE(**SMALL).fit(X, on_start=keeper.on_start)
    assert again.parameters_.values.tobytes() == whole.parameters_.values.tobytes()


def test_looking_costs_no_step_its_numbers():
    """The copies that are kept of the state change nothing, with noise of either kind."""
    for noise in ("generator", "counter"):
        first = mv.VAE(**SMALL | {"noise": noise, "epochs": 20}).fit(X)
        second = mv.VAE(**SMALL | {"noise": noise, "epochs": 20})
        second.fit(X, on_step=lambda trainer: trainer.state())
        assert first.parameters_.values.tobytes() == second.parameters_.values.tobytes()


def steep(at: int) -> type[mv.VAE]:
    """A VAE of which one term has an infinite slope at a finite value from step ``at`` on, in a parameter that is idle before."""

    def backward(xp, saved, g, needs):
        return (xp.full(saved[0], np.inf),)

    cliff = Op("cliff", lambda xp, x: (x * 0, (x.shape,)), backward, args=("x",))

    class Steep(mv.VAE):
        def loss(self, terms, epochs_done=np.inf):
            encoder_alone = mean(terms["kl"])
            if epochs_done == np.inf or epochs_done * 6 < at - 0.5:
                return encoder_alone
            return encoder_alone + mean(cliff(self.parameters_.parameters["decoder.0.bias"]))

    return Steep


@pytest.mark.parametrize("at", [0, 4])
def test_a_gradient_may_be_the_first_that_is_not_finite(at):
    """Every value is finite, the slope of one is not.  The failed pass leaves it in the vector of gradients: steps before, which
    have no part in that parameter, must not be blamed for it when they are made again."""
    message = failure(steep(at)(**SMALL))
    assert f"the gradient of decoder.0.bias, shape (5,) with 5 infinite, no finite number, in epoch 1, at step {at + 1};" in message
    assert "set clip_norm" in message


@pytest.mark.parametrize(("total", "parameter"), [(np.nan, 0.0), (0.0, np.nan), (np.inf, 0.0), (0.0, -np.inf), (1.0, 1.0)])
def test_terms_and_parameters_are_looked_at(total, parameter):
    """A parameter that the next batch does not use shows in no term."""
    vector = SimpleNamespace(values=np.array([1.0, parameter, 2.0], np.float32))
    trainer = SimpleNamespace(totals={"kl": np.array(1.0), "loss": np.array(total)}, model=SimpleNamespace(parameters_=vector))
    assert is_finite(trainer) == (total == parameter == 1.0)
