"""What every model computes: its loss and terms, estimates and draws, and gradients, in the precision that was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from support.family import X, Y, blank, every_model, gradients
from support.helpers import complaint

import minivae as mv
from minivae.checks import InputError

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
def test_the_loss_weights_its_terms_as_documented(kind):
    """As its docstring says, here after one epoch; ``summarize`` reports all terms and the bound on log p(x) that they make."""
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


COUPLED = {  # settings → the name of the one that makes the loss of an example depend on the others in its batch, or ""
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
def test_estimates_take_at_least_one_sample(kind):
    model = blank(kind, Y)
    for use in (model.elbo, model.log_likelihood, model.importance_estimate):
        assert "n_samples: expected a whole number from 1 to" in complaint(InputError, use, X, n_samples=0, y=Y)
        use(X, n_samples=1, y=Y)


@every_model
def test_a_temperature_below_zero_or_no_number_is_refused(kind):
    model = blank(kind, Y)
    for temperature in (-0.1, np.nan, "hot"):
        words = complaint(InputError, model.reconstruct, X, temperature, y=Y)
        assert words.startswith("temperature: expected a finite number of at least 0")


@every_model
def test_standard_error_and_effective_sample_size_agree(kind):
    """Both come from the same weights: n / ESS = n Σw² / (Σw)², and the squared error is (n / ESS − 1) / (n − 1)."""
    estimate = blank(kind, Y).importance_estimate(X, 50, y=Y)
    expected = np.sqrt(np.maximum(50 / estimate.effective_sample_size - 1, 0) / 49)
    np.testing.assert_allclose(estimate.standard_error, expected, rtol=1e-6, atol=1e-7)


@every_model
def test_history_holds_plain_numbers(kind):
    """So that JSON can write it: it knows Python's numbers, but not all of NumPy's."""
    history = blank(kind, Y).history_
    assert {"epoch", "seconds", "active_units", "train_loss", "train_reconstruction"} <= set(history)
    for name, values in history.items():
        for value in values:
            numbers = value if isinstance(value, list) else [value]
            assert {type(number) for number in numbers} <= {int, float}, name


@every_model
def test_draws_of_the_prior_have_the_shape_and_the_dtype_of_codes(kind):
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
def test_active_units_are_those_whose_posterior_mean_varies(kind, share, monkeypatch):
    """Where a latent dimension is a vector, the variances of its entries are added up."""
    model = blank(kind, Y)
    mean = model.posterior(X, model.encode_condition(Y, len(X)))[0].data
    variances = mean.var(axis=0).reshape(model.latent_dim, -1).sum(axis=1)
    bound = np.quantile(variances, share)
    monkeypatch.setattr("minivae.evaluation.estimators.ACTIVE_VARIANCE", bound)
    assert model.evaluate(model._rows(X, Y))[1]["active_units"] == (variances > bound).sum()


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
    """Gradients are proven in float64 and used in float32, so both precisions have to take the same path."""
    found = []
    for dtype in ("float64", "float32"):
        model = blank(kind, Y, dtype=dtype, likelihood="gaussian_shared")
        x, condition = X.astype(dtype), model.encode_condition(Y, len(X))
        condition = None if condition is None else condition.astype(dtype)
        found.append(gradients(model, model.loss(model.terms(x, InDoubles(), condition))))
    for name, exact in found[0].items():
        # Roundings of 6e-8 through six layers and back, some tens of terms in each sum: a few 1e-6 of the largest entry.
        np.testing.assert_allclose(found[1][name], exact, atol=1e-4 * max(1e-3, np.abs(exact).max()), err_msg=name)
