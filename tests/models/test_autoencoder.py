"""The autoencoder and its relatives: each objective against plain NumPy and finite differences, and what each penalty does."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from support.family import TINY, K, X, blank, gradients, objective, parameters
from support.helpers import complaint, near_copies, plain_network, plain_nll

import minivae as mv
from minivae.checks import InputError
from minivae.models.likelihoods import LIKELIHOODS
from minivae.nn import ACTIVATIONS
from minivae.proof.gradcheck import gradcheck

AE, SPARSE, DENOISING = mv.Autoencoder, mv.SparseAutoencoder, mv.DenoisingAutoencoder
CONTRACTIVE, QUANTIZED = mv.ContractiveAutoencoder, mv.QuantizedAutoencoder

OBJECTIVES = [
    *((AE, {"likelihood": likelihood, "variance": 0.3, "variance_floor": 0.2}) for likelihood in LIKELIHOODS),
    (AE, {"tied": True, "l1": 0.3, "l2": 0.2, "likelihood": "gaussian_shared"}),
    (AE, {"code_activation": "softplus", "l2": 0.5}),
    (SPARSE, {"penalty": "l1", "sparsity": 2.0}),
    (SPARSE, {"penalty": "kl", "sparsity": 2.0, "target": 0.2, "tied": True}),
    *((DENOISING, {"corruption": corruption}) for corruption in ("gaussian", "masking", "salt_and_pepper")),
    *((CONTRACTIVE, {"contraction": 0.7, "activation": activation}) for activation in ACTIVATIONS),
    (CONTRACTIVE, {"contraction": 0.7, "tied": True, "code_activation": "identity", "hidden_dims": ()}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "settings"), OBJECTIVES, ids=lambda value: getattr(value, "__name__", str(value)))
def test_gradient_of_the_objective(kind, settings):
    model = blank(kind, **settings)
    gradcheck(objective(model), parameters(model), tolerance=1e-6)  # kinks keep the steps short: 1e-7 is what they leave


# -- A.1, A.3, A.8: the plain autoencoder ---------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_loss_is_the_reconstruction_from_the_code(likelihood):  # (A.1)
    model = blank(AE, likelihood=likelihood, variance=0.3, variance_floor=0.2)
    nll = plain_nll(model, X, plain_network(model, "decoder", plain_network(model, "encoder", X)))
    terms = model.terms(X, None)
    assert list(terms) == ["reconstruction"]
    # The plain version adds the floor to the variance, the model bends its logarithm: close for 7 features, not the same.
    np.testing.assert_allclose(terms["reconstruction"].data, nll, rtol=0.3 if likelihood == "gaussian" else 1e-12)
    assert model.loss(terms).item() == pytest.approx(terms["reconstruction"].data.mean())


def test_weights_are_penalised_and_biases_are_not():  # (A.3)
    model = blank(AE, l1=0.3, l2=0.2)
    weights = [p.data for name, p in parameters(model).items() if name.endswith("weight")]
    assert len(weights) == 6
    l1, l2 = sum(np.abs(w).sum() for w in weights), sum((w**2).sum() for w in weights)
    terms = model.terms(X, None)
    assert terms["l1"].item() == pytest.approx(l1)
    assert terms["l2"].item() == pytest.approx(l2)
    assert model.loss(terms).item() == pytest.approx(terms["reconstruction"].data.mean() + 0.3 * l1 + 0.2 * l2)
    one = model.terms(X[:1], None)  # the penalty is the model's, the same for every batch
    assert model.loss(one).item() == pytest.approx(one["reconstruction"].item() + 0.3 * l1 + 0.2 * l2)


@pytest.mark.slow
@pytest.mark.trained
def test_penalties_on_the_weights_do_what_they_are_for(digits):  # (A.3)
    settings = {"latent_dim": 8, "hidden_dims": (31,), "epochs": 40, "learning_rate": 3e-3, "device": "cpu"}
    small = {}
    for name, penalty in {"none": {}, "l1": {"l1": 0.02}, "l2": {"l2": 0.02}}.items():
        model = AE(**settings, **penalty).fit(digits[0])
        weights = np.concatenate([p.data.ravel() for key, p in parameters(model).items() if key.endswith("weight")])
        small[name] = (weights**2).sum(), (np.abs(weights) < 0.01).mean()
    assert small["l2"][0] < 0.5 * small["none"][0]  # shorter vectors of weights …
    assert small["l1"][1] > 3 * small["none"][1]  # … and more weights that are next to nothing
    assert small["l1"][1] > 3 * small["l2"][1]


def test_tied_weights_are_one_parameter_in_two_places(tmp_path):  # (A.8)
    model = blank(AE, tied=True)
    names = list(parameters(model))
    assert [name for name in names if name.endswith("weight")] == [f"encoder.{i}.weight" for i in range(3)]
    assert [name for name in names if name.startswith("decoder")] == [f"decoder.{i}.bias" for i in range(3)]
    assert model.parameters_.values.size == sum(p.data.size for p in parameters(model).values())
    h = X
    for i, (layer, mirrored) in enumerate(zip(model.encoder_.layers, reversed(model.decoder_.layers), strict=True)):
        assert mirrored.weight is layer.weight
        h = h @ layer.weight.data + layer.bias.data
        h = np.tanh(h) if i < 2 else h
    for i, layer in enumerate(model.decoder_.layers):
        h = h @ parameters(model)[f"encoder.{2 - i}.weight"].data.T + layer.bias.data
        h = np.tanh(h) if i < 2 else h
    np.testing.assert_allclose(model.reconstruct(X), 1 / (1 + np.exp(-h)), rtol=1e-12)
    model.save(tmp_path / "tied.safetensors")
    again = mv.load(tmp_path / "tied.safetensors", device="cpu")
    np.testing.assert_array_equal(again.reconstruct(X), model.reconstruct(X))
    assert again.decoder_.layers[0].weight is again.encoder_.layers[-1].weight


@pytest.mark.trained
def test_tied_weights_stay_tied_in_training(digits):  # (A.8)
    settings = {"latent_dim": 8, "hidden_dims": (31,), "epochs": 30, "learning_rate": 3e-3, "device": "cpu"}
    tied, free = AE(tied=True, **settings).fit(digits[0]), AE(**settings).fit(digits[0])
    assert tied.parameters_.values.size < 0.55 * free.parameters_.values.size
    assert tied.score(digits[1]) > AE(tied=True, **settings | {"epochs": 1}).fit(digits[0]).score(digits[1]) + 5
    np.testing.assert_array_equal(tied.decoder_.layers[0].weight.data, tied.encoder_.layers[1].weight.data)


@pytest.mark.slow
@pytest.mark.trained
def test_a_linear_autoencoder_spans_the_principal_subspace(digits):
    """A.9: without hidden layers, squared error and a code of 3, decodings stay in the plane of the 3 leading components."""
    x = digits[0][:300]
    settings = {"latent_dim": 3, "hidden_dims": (), "likelihood": "gaussian_fixed", "output_bias": "data", "dtype": "float64"}
    model = AE(**settings, epochs=600, batch_size=300, learning_rate=1e-2, device="cpu").fit(x)
    principal = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][:3]
    spanned = np.linalg.qr(model.decoder_.layers[0].weight.data.T)[0].T
    cosines = np.linalg.svd(principal @ spanned.T, compute_uv=False)  # of the angles between the two subspaces
    assert cosines.min() > 0.999
    error = ((x - model.reconstruct(x)) ** 2).sum(axis=1).mean()
    best = ((x - x.mean(axis=0) - (x - x.mean(axis=0)) @ principal.T @ principal) ** 2).sum(axis=1).mean()
    assert best <= error * (1 + 1e-5)
    assert error < 1.001 * best


def test_the_posterior_is_a_proposal_around_the_code():
    model = blank(AE, posterior_std=0.3)
    mean, log_var = model.encode(X)
    np.testing.assert_allclose(mean, plain_network(model, "encoder", X), rtol=1e-12)
    np.testing.assert_allclose(np.exp(0.5 * log_var), 0.3, rtol=1e-12)
    np.testing.assert_array_equal(model.reconstruct(X), model.decode(mean))
    sampled = model.elbo(near_copies(X[:1], 4000), seed=0)
    z = mean[0] + 0.3 * np.random.default_rng(5).standard_normal((4000, K))
    kl = 0.5 * (K * (0.09 - 1 - np.log(0.09)) + (mean[0] ** 2).sum())
    by_hand = -plain_nll(model, X[:1], plain_network(model, "decoder", z)) - kl
    assert sampled.mean() == pytest.approx(by_hand.mean(), abs=5 * np.hypot(sampled.std(), by_hand.std()) / np.sqrt(4000))


def test_log_likelihood_is_that_of_the_decoder_under_the_prior():
    """The bound tightens to log p(x) = log E_{z ~ N(0, I)} p(x|z), here by plain Monte Carlo over the prior, whatever q is."""
    model = blank(AE, posterior_std=1.0)
    z = np.random.default_rng(3).standard_normal((200_000, K))
    weights = np.exp(-plain_nll(model, X[0], plain_network(model, "decoder", z)))
    truth, error = np.log(weights.mean()), weights.std() / weights.mean() / np.sqrt(len(z))
    estimate = model.importance_estimate(X[:1], 20_000)
    assert estimate.log_likelihood[0] == pytest.approx(truth, abs=5 * np.hypot(error, estimate.standard_error[0]))
    assert model.elbo(X[:1], 1000)[0] < truth


def test_scores_tell_how_well_an_example_is_rebuilt():
    model = blank(AE, code_activation="tanh")
    nll = plain_nll(model, X, plain_network(model, "decoder", np.tanh(plain_network(model, "encoder", X))))
    np.testing.assert_allclose(model.score_samples(X), -nll, rtol=1e-12)
    np.testing.assert_allclose(model.anomaly_score(X), nll, rtol=1e-12)
    assert model.score(X) == pytest.approx(-nll.mean())


# -- A.2: sparse ----------------------------------------------------------------------------------------------------------

SETTINGS = {"latent_dim": 24, "hidden_dims": (61,), "epochs": 40, "learning_rate": 3e-3, "device": "cpu"}


def test_sparsity_term_against_plain_numpy():  # (A.2)
    code = 1 / (1 + np.exp(-plain_network(blank(SPARSE), "encoder", X)))
    term = blank(SPARSE, sparsity=3.0).terms(X, None)["sparsity"].data
    np.testing.assert_allclose(term, code.sum(axis=1), rtol=1e-12)  # one value per example, over its units
    rate = code.mean(axis=0)  # one for each unit, over the examples
    model = blank(SPARSE, penalty="kl", target=0.2, sparsity=3.0)
    terms = model.terms(X, None)
    kl = (0.2 * np.log(0.2 / rate) + 0.8 * np.log(0.8 / (1 - rate))).sum()
    assert terms["sparsity"].item() == pytest.approx(kl, rel=1e-12)
    assert model.loss(terms).item() == pytest.approx(terms["reconstruction"].data.mean() + 3 * kl, rel=1e-12)


@pytest.mark.slow
@pytest.mark.trained
def test_l1_turns_units_off(digits):  # (A.2)
    active = {}
    for sparsity in (0.0, 1.0):
        model = SPARSE(**SETTINGS, sparsity=sparsity).fit(digits[0])
        active[sparsity] = (model.transform(digits[1]) > 0.1).mean()
    assert active[1.0] < 0.5 * active[0.0]


@pytest.mark.slow
@pytest.mark.trained
def test_divergence_brings_the_mean_activity_to_its_target(digits):  # (A.2)
    rates = {}
    for sparsity in (0.0, 10.0):
        model = SPARSE(**SETTINGS, penalty="kl", sparsity=sparsity, target=0.1).fit(digits[0])
        rates[sparsity] = model.transform(digits[1]).mean(axis=0)
    assert np.abs(rates[10.0] - 0.1).max() < 0.05
    assert np.abs(rates[0.0] - 0.1).max() > 0.3


# -- A.7: quantised -------------------------------------------------------------------------------------------------------


def test_codes_are_levels_and_the_decoder_sees_them():  # (A.7)
    model = blank(QUANTIZED, levels=4)
    smooth = np.tanh(plain_network(model, "encoder", X))
    code = model.transform(X)
    grid = np.array([-1, -1 / 3, 1 / 3, 1])
    np.testing.assert_allclose(code, grid[np.abs(smooth[..., None] - grid).argmin(axis=-1)], atol=1e-15)
    assert len(np.unique(code.round(9))) > 1
    nll = plain_nll(model, X, plain_network(model, "decoder", code))
    np.testing.assert_allclose(model.terms(X, None)["reconstruction"].data, nll, rtol=1e-12)


def test_the_gradient_is_that_of_the_objective_with_its_offsets_held_fixed(monkeypatch):
    """Straight-through: h = tanh a + offset, where the offset of the rounding is taken for a constant."""
    model = blank(QUANTIZED, levels=4)  # none of which is 0, where the decoder's first weights would not matter
    straight_through = gradients(model, objective(model)())
    offset = model.transform(X) - np.tanh(plain_network(model, "encoder", X))
    assert np.abs(offset).max() > 0.1
    monkeypatch.setattr(model, "code", lambda outputs: ACTIVATIONS["tanh"](outputs) + offset)
    gradcheck(objective(model), parameters(model))
    for name, gradient in gradients(model, objective(model)()).items():
        np.testing.assert_allclose(straight_through[name], gradient, rtol=1e-12, atol=1e-15, err_msg=name)


@pytest.mark.slow
@pytest.mark.trained
def test_precision_is_the_bottleneck(digits):  # (A.7)
    """8 codes of 2 levels are 8 bits, of 9 levels 25: with less to tell, the reconstruction is worse by more than a nat."""
    settings = SETTINGS | {"latent_dim": 8, "epochs": 80}
    two, nine = (QUANTIZED(**settings, levels=levels).fit(digits[0]).score(digits[1]) for levels in (2, 9))
    assert two + 1 < nine


# -- what is refused ------------------------------------------------------------------------------------------------------

REFUSALS = [
    (AE, {"code_activation": "cubic"}, "code_activation: expected one of relu"),
    (AE, {"tied": True, "likelihood": "gaussian"}, "likelihood: expected one decoder output per feature for tied weights"),
    (AE, {"l1": -0.1}, "l1: expected a finite number of at least 0"),
    (AE, {"l2": math.nan}, "l2: expected a finite number of at least 0"),
    (AE, {"posterior_std": 0.0}, "posterior_std: expected a finite number above 0"),
    (SPARSE, {"penalty": "l0"}, "penalty: expected one of l1, kl"),
    (SPARSE, {"sparsity": -1.0}, "sparsity: expected a finite number of at least 0"),
    (SPARSE, {"target": 0.0}, "target: expected a finite number above 0"),
    (SPARSE, {"target": 1.0}, "target: expected a number below 1"),
    (SPARSE, {"penalty": "kl", "code_activation": "relu"}, "code_activation: expected sigmoid for the penalty 'kl'"),
    (DENOISING, {"corruption": "rain"}, "corruption: expected one of gaussian, masking, salt_and_pepper"),
    (DENOISING, {"amount": 1.5}, "amount: expected a finite number from 0 to 1"),
    (DENOISING, {"corruption": "gaussian", "amount": -1.0}, "amount: expected a finite number of at least 0"),
    (CONTRACTIVE, {"contraction": -1.0}, "contraction: expected a finite number of at least 0"),
    (QUANTIZED, {"levels": 1}, "levels: expected a whole number of at least 2"),
    (QUANTIZED, {"code_activation": "relu"}, "code_activation: expected tanh"),
]


@pytest.mark.parametrize(("kind", "settings", "fragment"), REFUSALS, ids=[str(row[1]) for row in REFUSALS])
def test_settings_that_cannot_be_used_are_refused(kind, settings, fragment):
    assert fragment in complaint(InputError, kind(**TINY | settings).fit, X)


# -- penalties of one's own -----------------------------------------------------------------------------------------------


def test_two_kinds_of_penalties_go_together():  # (A.2), (A.5)
    """A model that is contractive and sparse has both penalties, and each is what it is alone."""

    @dataclass(kw_only=True, eq=False)
    class Both(CONTRACTIVE, SPARSE):
        pass

    both = blank(Both, penalty="kl")
    terms = both.terms(X, None)
    for kind, name in ((CONTRACTIVE, "contraction"), (SPARSE, "sparsity")):
        alone = blank(kind, **{"penalty": "kl"} if kind is SPARSE else {})
        alone.parameters_.values[...] = both.parameters_.values
        np.testing.assert_allclose(terms[name].data, alone.terms(X, None)[name].data, rtol=1e-12)


@pytest.mark.parametrize("kind", [AE, CONTRACTIVE, mv.VQVAE])
def test_a_penalty_of_ones_own_is_given_the_batch_the_outputs_and_the_code(kind):
    class Own(kind):
        def penalties(self, x, outputs, code):
            seen.update(x=x, outputs=outputs.data, code=code.data)
            return super().penalties(x, outputs, code)

    seen = {}
    model = blank(Own)
    model.terms(X, None)
    np.testing.assert_array_equal(seen["x"], X)
    np.testing.assert_allclose(seen["outputs"], plain_network(model, "encoder", X), rtol=1e-12)
    np.testing.assert_allclose(seen["code"], model.transform(X), rtol=1e-12)
