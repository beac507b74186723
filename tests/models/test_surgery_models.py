"""The models that act on q(z): β-TC-VAE, InfoVAE with WAE-MMD, and DIP-VAE; each against an oracle, and its gradient whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.family import K, X, blank, gradients, objective, parameters
from support.helpers import complaint

import minivae as mv
from minivae.autodiff import Tensor
from minivae.checks import InputError
from minivae.evaluation.aggregate import decompose, log_aggregate, split
from minivae.models.likelihoods import LIKELIHOODS
from minivae.models.objectives import covariance_penalty
from minivae.ops import covariance, log_mixture, mixture, mmd
from minivae.proof.gradcheck import gradcheck
from minivae.training.batches import Rows

RNG = np.random.default_rng(0)
KINDS = [
    (mv.BetaTCVAE, {"alpha": 0.5, "beta": 3.0, "gamma": 1.7}),
    (mv.BetaTCVAE, {"estimator": "weighted"}),
    (mv.BetaTCVAE, {"batch_size": 12}),  # 29 rows in groups of 12, 12 and 5
    (mv.InfoVAE, {}),
    (mv.InfoVAE, {"kernel": "gaussian", "kl_weight": 0.0, "batch_size": 12}),
    (mv.DIPVAE, {"off_diagonal": 3.0}),
    (mv.DIPVAE, {"moments": "means", "diagonal": 3.0}),
]


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize(("kind", "settings"), KINDS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_gradient_of_the_objective_against_finite_differences(kind, settings, likelihood):  # (T.6), (D.1), (D.3)
    model = blank(kind, likelihood=likelihood, **settings)
    gradcheck(objective(model), parameters(model), tolerance=2e-7)


# β-TC-VAE -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ["stratified", "weighted"])
@pytest.mark.parametrize("n_data", [29, 2000])
def test_with_all_weights_at_one_it_is_the_plain_bound_and_with_equal_ones_the_beta_vae(estimator, n_data):  # (T.6)
    for weight in (1.0, 4.0):
        model = blank(mv.BetaTCVAE, alpha=weight, beta=weight, gamma=weight, estimator=estimator)
        model.n_data_ = n_data
        plain = blank(mv.VAE, beta=weight)
        plain.parameters_.values[...] = model.parameters_.values
        value, expected = objective(model)(), objective(plain)()
        assert value.item() == pytest.approx(expected.item(), rel=1e-12)
        ours, theirs = gradients(model, value), gradients(plain, expected)
        for name in theirs:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-9, atol=1e-10)


def test_terms_of_a_whole_data_set_are_the_exact_parts():  # (T.1), (T.6)
    """One batch of all N examples: each row's log q(z) is by all posteriors, and the loss is that of the parts taken one by one."""
    model = blank(mv.BetaTCVAE, alpha=0.3, beta=5.0, gamma=2.0)
    terms = model.terms(X, np.random.default_rng(2))
    mean, log_var = model.encode(X)
    z = mean + np.exp(0.5 * log_var) * np.random.default_rng(2).standard_normal(mean.shape)
    _, correlation, dimension_wise = split(z, mean, log_var, *log_aggregate(z, mean, log_var))
    np.testing.assert_allclose(terms["batch_total_correlation"].data, correlation, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(terms["batch_dimension_wise_kl"].data, dimension_wise, rtol=1e-9, atol=1e-12)
    information = terms["kl"].data - correlation - dimension_wise
    expected = (terms["reconstruction"].data + 0.3 * information + 5 * correlation + 2 * dimension_wise).mean()
    assert model.loss(terms).item() == pytest.approx(expected)


@pytest.mark.slow
def test_rows_are_compared_in_batches_of_the_size_of_training():
    """A test set's estimate has the bias of training, whatever the chunks in which it is evaluated."""
    x = np.random.default_rng(0).random((1500, 7))
    model = blank(mv.BetaTCVAE, x=x, batch_size=50)
    terms, _ = model.evaluate(Rows(x, np, "float64"))
    whole = blank(mv.BetaTCVAE, x=x, batch_size=500)
    whole.parameters_.values[...] = model.parameters_.values
    biased, less = (one["batch_total_correlation"] for one in (terms, whole.evaluate(Rows(x, np, "float64"))[0]))
    exact = decompose(*model.encode(x), np.random.default_rng(0), 1500).total_correlation.value
    assert abs(less - exact) < abs(biased - exact)


@pytest.mark.slow
def test_pressing_total_correlation_lowers_it_and_leaves_the_information(digits):
    """On digits, judged by all posteriors and not by the estimate that was trained on."""
    settings = {"latent_dim": 6, "hidden_dims": (64,), "epochs": 12, "learning_rate": 3e-3, "device": "cpu"}
    x = digits[0]
    found = {}
    for beta in (1.0, 8.0):
        model = mv.BetaTCVAE(**settings, beta=beta).fit(x)
        found[beta] = decompose(*model.encode(x), np.random.default_rng(0), 500)
    plain, pressed = found[1.0], found[8.0]
    assert pressed.total_correlation.value < 0.6 * plain.total_correlation.value  # at most 0.14 of it for three seeds
    assert pressed.mutual_information.value > 0.25 * plain.mutual_information.value  # 0.41 to 0.63; the β-VAE at 8 keeps none


def test_file_keeps_the_number_of_examples(tmp_path):
    blank(mv.BetaTCVAE).save(tmp_path / "model.safetensors")
    assert mv.load(tmp_path / "model.safetensors", device="cpu").n_data_ == len(X)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"alpha": -1.0}, "alpha: expected"),
        ({"estimator": "exact"}, "estimator: expected one of stratified, weighted"),
    ],
)
def test_settings_that_make_no_sense(settings, words):
    assert words in complaint(InputError, mv.BetaTCVAE(**settings).fit, X)


# The mixture ----------------------------------------------------------------------------------------------------------------------


def test_mixture_far_out_and_with_components_of_no_weight():  # (T.5)
    """log Σ w p where every p underflows; and log 0 as a weight leaves a component out, value and gradient."""
    z, mean = np.array([[1e3, 0.0], [0.0, -2e3]]), np.array([[0.0, 0.0], [1.0, 1.0], [-1.0, 3.0]])
    weights = np.log(np.array([0.2, 0.3, 0.5]))
    with np.errstate(divide="ignore"):
        none = np.log(np.array([1.0, 0.0, 0.0]))
    leaves = [Tensor(array, requires_grad=True) for array in (z, mean, np.zeros((3, 2)), none)]
    out = log_mixture(*leaves)
    np.testing.assert_allclose(out.data, -0.5 * (z**2).sum(axis=1) - math.log(2 * math.pi))
    out.backward(np.ones(2))
    np.testing.assert_allclose(leaves[0].grad, -z)
    assert not leaves[1].grad[1:].any()
    assert np.isfinite(log_mixture(z, mean, np.zeros((3, 2)), weights).data).all()


def test_mixture_of_no_weight_at_all_is_nothing():
    leaves = [Tensor(RNG.standard_normal(shape), requires_grad=True) for shape in ((3, 2), (4, 2), (4, 2))]
    with np.errstate(divide="ignore"):
        weights = np.log(np.array([[0.5, 0.5, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]]))
        out = log_mixture(*leaves, weights)
    np.testing.assert_array_equal(np.isinf(out.data), [False, True, False])
    out.backward(np.array([1.0, 2.0, 3.0]))
    assert all(np.isfinite(leaf.grad).all() for leaf in leaves)
    assert not leaves[0].grad[1].any()


def test_blocks_cover_every_row_once_and_hold_no_more_than_they_may(monkeypatch):
    for limit, shape, m, expected in (
        (60, (11, 3), 5, 4),
        (1, (11, 3), 5, 1),
        (60, (7, 2, 3), 5, 2),
        (10**6, (3, 2), 4, 3),
        (6, (9, 2), 1, 3),
        (6, (9, 1), 1, 6),
    ):
        monkeypatch.setattr(mixture, "BLOCK", limit)
        parts = [list(range(shape[0]))[part] for part in mixture._blocks(shape, m)]
        assert [row for part in parts for row in part] == list(range(shape[0]))
        assert max(map(len, parts)) == min(expected, shape[0])


def test_ops_of_batches_work_in_float64_and_round_once():
    arrays = [3 * RNG.standard_normal(shape).astype("float32") for shape in ((200, 3), (5, 3), (5, 3), (200, 5))]
    for op, inputs in ((log_mixture, arrays), (mmd, arrays[:2]), (covariance, arrays[:1])):
        twice = [op(*(array.astype(dtype) for array in inputs)).data for dtype in ("float32", "float64")]
        np.testing.assert_array_equal(twice[0], twice[1].astype("float32"))


def test_covariance_of_codes_far_from_the_origin():
    x = RNG.standard_normal((50, 3))
    np.testing.assert_allclose(covariance(x + 1e8).data, np.cov(x, rowvar=False, bias=True), atol=1e-7)


@pytest.mark.parametrize("block", [1, 30, 10**6])
def test_mixture_does_not_depend_on_the_blocks(block, monkeypatch):
    arrays = [RNG.standard_normal(shape) for shape in ((11, 3), (5, 3), (5, 3), (11, 5))]

    def everything(shift):
        """With the points in another order, so that memory which was not written to holds no right answer from before."""
        z, mean, log_var, weights = arrays
        leaves = [Tensor(array, requires_grad=True) for array in (np.roll(z, shift, 0), mean, log_var, np.roll(weights, shift, 0))]
        out = log_mixture(*leaves)
        out.backward(np.roll(np.arange(1.0, 12.0), shift))
        by_point = [np.roll(array, -shift, 0) for array in (out.data, leaves[0].grad, leaves[3].grad)]
        return [*by_point, leaves[1].grad, leaves[2].grad]

    whole = everything(0)
    monkeypatch.setattr(mixture, "BLOCK", block)
    for ours, expected in zip(everything(4), whole, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-13)


# Discrepancy ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("shift", "std"), [(0.0, 1.0), (0.7, 1.0), (0.0, 0.5)])
def test_discrepancy_of_gaussians_has_its_closed_form_in_the_mean(shift, std):  # (D.2)
    """E k(a, b) of a Gaussian kernel and Gaussian a − b ~ N(m, v I) is (s/(s + v))^(k/2) exp(−‖m‖²/(2 (s + v)))."""
    k, s, n = 3, 2.0, 20

    def expected(distance, variance):
        return (s / (s + variance)) ** (k / 2) * math.exp(-k * distance**2 / (2 * (s + variance)))

    exact = expected(0, 2 * std**2) + expected(0, 2.0) - 2 * expected(shift, 1 + std**2)
    rng = np.random.default_rng(0)
    draws = [(shift + std * rng.standard_normal((n, k)), rng.standard_normal((n + 7, k))) for _ in range(2000)]
    values = np.array([mmd(x, y, scale=s).item() for x, y in draws])
    assert abs(values.mean() - exact) < 4 * values.std() / math.sqrt(len(values))
    assert (values < 0).any() or exact > 0.05  # no bias at 0 means that some are below


def test_discrepancy_of_the_same_distribution_is_zero_in_the_mean_for_either_kernel():
    rng = np.random.default_rng(0)
    for kernel in ("gaussian", "inverse_multiquadratic"):
        values = np.array([mmd(*rng.standard_normal((2, 15, 4)), kernel=kernel, scale=4.0).item() for _ in range(2000)])
        assert abs(values.mean()) < 4 * values.std() / math.sqrt(len(values))


def test_wae_is_the_infovae_without_the_divergence_and_the_bound_the_one_without_the_discrepancy():  # (D.1)
    model = blank(mv.InfoVAE, kl_weight=1.0, mmd_weight=0.0)
    plain = blank(mv.VAE)
    assert objective(model)().item() == pytest.approx(objective(plain)().item(), rel=1e-12)
    wae = blank(mv.InfoVAE, kl_weight=0.0, mmd_weight=7.0)
    terms = wae.terms(X, np.random.default_rng(2))
    assert wae.loss(terms).item() == pytest.approx(terms["reconstruction"].data.mean() + 7 * terms["mmd"].item())
    rng = np.random.default_rng(2)
    mean, log_var = wae.encode(X)
    z = mean + np.exp(0.5 * log_var) * rng.standard_normal(mean.shape)
    by_hand = mmd(z, rng.standard_normal(mean.shape), kernel="inverse_multiquadratic", scale=wae.latent_dim)
    assert terms["mmd"].item() == pytest.approx(by_hand.item())


def test_groups_of_a_batch_are_weighted_by_their_rows():  # (D.2)
    """With a batch size of 12, the terms of 29 rows are a mean over groups of 12, 12 and 5."""
    model = blank(mv.InfoVAE, batch_size=12)
    rng = np.random.default_rng(2)
    mean, log_var = model.encode(X)
    z, prior = mean + np.exp(0.5 * log_var) * rng.standard_normal(mean.shape), rng.standard_normal(mean.shape)
    groups = [mmd(z[rows], prior[rows], kernel=model.kernel, scale=K).item() for rows in map(slice, (0, 12, 24), (12, 24, 29))]
    expected = np.average(groups, weights=(12, 12, 5))
    assert model.terms(X, np.random.default_rng(2))["mmd"].item() == pytest.approx(expected)


@pytest.mark.slow
def test_discrepancy_draws_the_aggregate_posterior_to_the_prior(digits):
    settings = {"latent_dim": 4, "hidden_dims": (64,), "epochs": 20, "learning_rate": 3e-3, "device": "cpu", "kl_weight": 0.0}
    spread = {}
    for weight in (0.0, 100.0):
        mean, log_var = mv.InfoVAE(**settings, mmd_weight=weight).fit(digits[0]).encode(digits[0])
        second = np.cov(mean, rowvar=False) + np.diag(np.exp(log_var).mean(axis=0))
        spread[weight] = np.abs(second - np.eye(4)).max()
    assert spread[100.0] < 0.5 < spread[0.0]


# Covariance -----------------------------------------------------------------------------------------------------------------------


def test_covariance_penalty_is_what_it_says():  # (D.3), (D.4)
    x = RNG.standard_normal((50, 4)) @ RNG.standard_normal((4, 4))
    c = np.cov(x, rowvar=False, bias=True)
    off = ~np.eye(4, dtype=bool)
    expected = 3 * (c[off] ** 2).sum() + 7 * ((np.diag(c) - 1) ** 2).sum()
    assert covariance_penalty(covariance(x), 3.0, 7.0).item() == pytest.approx(expected)


def test_samples_have_the_covariance_that_the_second_kind_penalises():
    """Law of total covariance: that of many samples of q(z) is Cov[μ] + E[σ²]; the first kind takes the means alone."""
    mean, log_var = blank(mv.DIPVAE).encode(X)
    z = mean + np.exp(0.5 * log_var) * np.random.default_rng(0).standard_normal((4000, *mean.shape))
    sampled = np.cov(z.reshape(-1, mean.shape[1]), rowvar=False)
    for moments, c in (("samples", sampled), ("means", np.cov(mean, rowvar=False, bias=True))):
        model = blank(mv.DIPVAE, moments=moments, off_diagonal=3.0, diagonal=7.0)
        expected = covariance_penalty(Tensor(c), 3.0, 7.0).item()
        assert model.terms(X, RNG)["covariance_penalty"].item() == pytest.approx(expected, rel=0.02)


@pytest.mark.slow
def test_penalty_makes_the_codes_uncorrelated_with_the_spread_of_the_prior(digits):
    settings = {"latent_dim": 4, "hidden_dims": (64,), "epochs": 20, "learning_rate": 3e-3, "device": "cpu"}
    far = {}
    for weight in (0.0, 30.0):
        mean, log_var = mv.DIPVAE(**settings, off_diagonal=weight, diagonal=weight).fit(digits[0]).encode(digits[0])
        far[weight] = np.abs(np.cov(mean, rowvar=False) + np.diag(np.exp(log_var).mean(axis=0)) - np.eye(4)).max()
    assert far[30.0] < 0.1
    assert far[30.0] < far[0.0]
