"""The reported figures: each against its definition, computed in another way."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
from support.helpers import blank_vae, complaint

import minivae as mv
from minivae.checks import InputError
from minivae.datasets import Dataset
from minivae.evaluation.aggregate import PARTS, decompose
from minivae.evaluation.annealing import Certificate
from minivae.evaluation.estimators import ImportanceEstimate
from minivae.models.vae import Variational
from minivae.runs import scores
from minivae.runs.scores import certify, entropy_floor, score
from minivae.runs.tables import figure_rows


def test_entropy_floor_is_the_mean_entropy_of_the_pixels():
    x = np.array([[0.0, 0.5, 0.3], [1.0, 1e-9, 1 - 1e-9]])
    with mpmath.workdps(40):
        total = mpmath.mpf(0)
        for p in (mpmath.mpf(float(p)) for p in x.ravel()):
            total += sum(-q * mpmath.log(q) for q in (p, 1 - p) if q)
    assert entropy_floor(x) == pytest.approx(float(total / 2), rel=1e-13)
    assert entropy_floor(np.eye(3)) == 0


def test_entropy_floor_reads_bytes_as_pixels_and_covers_all_chunks():
    pixels = np.random.default_rng(0).integers(0, 256, (2500, 5), dtype=np.uint8)
    assert entropy_floor(pixels) == pytest.approx(entropy_floor(pixels / 255), rel=1e-12)
    halves = entropy_floor(pixels[:1250]), entropy_floor(pixels[1250:])
    assert entropy_floor(pixels) == pytest.approx(np.mean(halves), rel=1e-12)


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan])
def test_there_is_no_entropy_outside_the_unit_interval(value):
    assert entropy_floor(np.array([[0.5, value]])) is None


def test_no_reconstruction_is_below_the_floor():
    """The bound holds for any decoder, and is met by one that knows each pixel: here, data that are all alike."""
    x = np.tile(np.array([[0.1, 0.5, 0.8]]), (32, 1))
    vae = blank_vae(x, latent_dim=1, hidden_dims=(), output_bias="data")
    vae.decoder_.layers[-1].weight.data[...] = 0
    figures = score(vae, Dataset(x, None, None, "alike"))
    assert figures["reconstruction"] == pytest.approx(figures["entropy_floor"], rel=1e-12)


class Scored:
    """A model whose importance estimates are given, one per example, and whose examples are their own numbers."""

    latent_dim, likelihood, binarize, n_features_in_ = 3, "bernoulli", "dynamic", 1
    likelihood_ = None
    history_ = ()  # nothing that training recorded, and so no parts of the KL

    def __init__(self, log_p: np.ndarray, error: np.ndarray) -> None:
        self.log_p, self.error = log_p, error
        self.evaluated: list[int] = []

    def _rows(self, values, y, n_features):
        return values

    def condition_width(self) -> int:
        return 0

    def evaluate(self, rows):
        return {"reconstruction": 5.0, "kl": 2.0, "loss": 11.0}, {"active_units": 2}

    def summarize(self, terms):
        return terms | {"elbo": -7.0}

    def importance_estimate(self, x, n_samples, y):
        self.evaluated = x[:, 0].astype(int).tolist()
        rows = self.evaluated
        return ImportanceEstimate(self.log_p[rows], self.error[rows], np.full(len(rows), 2.0), n_samples)


def numbered(n: int) -> Dataset:
    return Dataset(np.arange(n, dtype=np.float32)[:, None], None, None, "numbered")


def test_the_standard_error_is_that_of_the_mean():
    rng = np.random.default_rng(0)
    log_p, error = rng.normal(-90, 5, 37), rng.uniform(0.1, 0.3, 37)
    figures = score(Scored(log_p, error), numbered(37), n_samples=8)
    assert figures["log_likelihood"] == pytest.approx(np.mean(log_p))
    assert figures["standard_error"] == pytest.approx(math.sqrt(((log_p - log_p.mean()) ** 2).sum() / 36 / 37))
    assert figures["monte_carlo_error"] == pytest.approx(math.sqrt((error**2).sum()) / 37)
    assert (figures["n_samples"], figures["n_evaluated"], figures["n_test"]) == (8, 37, 37)


def test_the_spread_of_the_estimates_already_holds_their_monte_carlo_noise():
    """So that noise is not added twice: over repetitions, the mean strays as the standard error of one says."""
    rng = np.random.default_rng(1)
    means, errors = [], []
    for _ in range(400):
        noisy = rng.normal(-90, 1.5, 50) + rng.normal(0, 2.0, 50)  # examples differ, and each is measured with an error of 2
        figures = score(Scored(noisy, np.full(50, 2.0)), numbered(50))
        means.append(figures["log_likelihood"])
        errors.append(figures["standard_error"])
    # A standard deviation of 400 draws is known to 1/√800 = 3.5 %, four times that is allowed.  Adding 2²/50 again gives 28 %.
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.14)


def test_a_few_examples_are_taken_from_all_over():
    model = Scored(np.arange(1000.0), np.ones(1000))
    figures = score(model, numbered(1000), n_examples=5)
    assert model.evaluated == [0, 250, 500, 749, 999]
    assert (figures["n_evaluated"], figures["n_test"]) == (5, 1000)


def test_one_example_has_no_standard_error_and_one_sample_no_monte_carlo_error():
    figures = score(Scored(np.array([-3.0]), np.array([np.nan])), numbered(1), n_samples=1)
    assert figures["log_likelihood"] == -3
    assert figures["standard_error"] is None
    assert figures["monte_carlo_error"] is None
    assert ("test log p(x)", "-3.00 ± nan", "1 examples, 1 importance samples each") in list(figure_rows(figures))


def test_the_loss_reported_is_the_negative_elbo_whatever_was_trained():
    figures = score(Scored(np.zeros(4), np.zeros(4)), numbered(4))
    assert (figures["test_loss"], figures["test_elbo"]) == (7, -7)  # and not 11, in which the KL was weighted


def test_a_model_without_a_bound_has_its_loss_and_no_likelihood():
    autoencoder = mv.Autoencoder(latent_dim=2, hidden_dims=(5,), epochs=1, batch_size=10, device="cpu")
    x = np.random.default_rng(0).random((20, 3))
    figures = score(autoencoder.fit(x), Dataset(x, None, None, "x"))
    assert figures["test_loss"] == pytest.approx(figures["reconstruction"])
    assert not {"test_elbo", "log_likelihood"} & figures.keys()
    assert next(figure_rows(figures))[0] == "test loss"


def test_the_sigma_of_a_gaussian_decoder():
    x = np.random.default_rng(0).standard_normal((30, 4))
    data = Dataset(x, None, None, "x")
    figures = score(blank_vae(x, likelihood="gaussian_fixed", variance=0.09, beta=2.0), data)
    assert figures["sigma"] == pytest.approx(0.3)
    assert figures["effective_beta"] == pytest.approx(0.18)  # (L.5): ½‖x − m‖²/σ² + β KL is ½‖x − m‖² + β σ² KL, over σ²
    learned = blank_vae(x, likelihood="gaussian_shared", variance=0.09)
    learned.likelihood_.log_var.data[...] = math.log(0.25)
    assert score(learned, data)["sigma"] == pytest.approx(0.5)
    blank = blank_vae(x, likelihood="gaussian", variance_floor=1e-8)
    last = blank.decoder_.layers[-1]
    last.weight.data[...] = 0
    last.bias.data[4:] = np.log([0.04, 0.04, 0.04, 4.0])  # raw log-variances, far above the floor
    assert score(blank, data)["sigma_quantiles"] == pytest.approx([0.2, 0.2, 2.0], rel=1e-6)  # the floor adds ½ · 1e-8/0.04


def test_accuracy_of_a_classifier():
    x = np.random.default_rng(0).random((40, 3)).astype("float32")
    y = (x[:, 0] > 0.5).astype(int)
    settings = {"latent_dim": 2, "hidden_dims": (4,), "epochs": 2, "batch_size": 8, "device": "cpu"}
    classifier = mv.models.VAEClassifier(**settings).fit(x, y)
    figures = score(classifier, Dataset(x, y, None, "x"))
    assert figures["accuracy"] == np.mean([classifier.predict(x[i : i + 1])[0] == y[i] for i in range(40)])


@pytest.mark.parametrize("arguments", [{"n_samples": 0}, {"n_examples": 0}])
def test_counts_are_checked(arguments):
    assert next(iter(arguments)) in complaint(InputError, score, SimpleNamespace(), numbered(3), **arguments)


@pytest.mark.slow
def test_factors_are_scored_where_there_are_two_dimensions_to_tell_apart():
    """One dimension has no gap to a second: without this look the whole report of such a model would end in a complaint."""
    x, factors = np.random.default_rng(0).random((60, 4)), np.arange(60)[:, None] % [2, 3]
    data = Dataset(x, None, None, "x", factors=factors, factor_sizes=(2, 3))
    scored = {k: score(blank_vae(x, latent_dim=k), data, n_samples=2) for k in (1, 2)}
    assert not {"mig", "higgins"} & scored[1].keys()
    assert {"mig", "higgins"} <= scored[2].keys()


def test_entropy_is_a_floor_only_of_grey_pixels_under_a_bernoulli():
    """Binarised pixels have none, and the floor of another likelihood is another: the report would compare with a wrong number."""
    x = np.random.default_rng(0).random((20, 4))
    for settings, floor in (
        ({}, True),
        ({"binarize": "dynamic"}, False),
        ({"binarize": "fixed"}, False),
        ({"likelihood": "gaussian_fixed"}, False),
        ({"likelihood": "gaussian_fixed", "binarize": "dynamic"}, False),
    ):
        assert ("entropy_floor" in score(blank_vae(x, **settings), Dataset(x, None, None, "x"))) == floor


def test_figures_are_plain_numbers():
    """They go into JSON, which knows none of NumPy's: and float32 errors make float32 figures unless someone takes care."""
    figures = score(Scored(np.arange(5.0, dtype="float32"), np.ones(5, "float32")), numbered(5))
    assert {type(value) for value in figures.values()} <= {int, float, bool}
    assert json.loads(json.dumps(figures)) == figures


@pytest.mark.parametrize(
    ("shift", "verdict"), [(0.0, "inside"), (-3.0, "3.00 nats below the lower bound"), (5.0, "4.00 nats above the upper bound")]
)
def test_an_estimate_outside_the_certificate_is_called_so(vae, digits, monkeypatch, shift, verdict):
    x, estimate = digits[1][:16], vae.log_likelihood(digits[1][:16], n_samples=7)
    bounds = Certificate(estimate - shift, estimate - shift + float(shift > 0), 0.7)
    monkeypatch.setattr(vae, "certificate", lambda n, y: (x, bounds), raising=False)
    figures = certify(vae, Dataset(x, None, None, "digits"), n_samples=7)
    assert figures["certificate_verdict"] == verdict
    assert figures["certificate_gap"] == float(shift > 0)


GAUSSIAN = [kind for kind in mv.MODELS.values() if issubclass(kind, Variational) and not kind.by_samples]


@pytest.mark.slow
@pytest.mark.parametrize("kind", GAUSSIAN, ids=lambda kind: kind.__name__)
def test_parts_of_the_kl_add_up_for_every_trained_model_with_a_gaussian_posterior(kind):  # (T.1)
    train, test = mv.datasets.load("digits")
    settings = {"latent_dim": 5, "hidden_dims": (31,), "epochs": 6, "batch_size": 60, "learning_rate": 3e-3, "device": "cpu"}
    model = kind(**settings).fit(train.values[:600], train.y[:600], test.values, test.y)
    found = decompose(*model.encode(test.values, test.y), np.random.default_rng(0), 2000)
    assert abs(found.total.value - found.kl) < 3 * found.total.standard_error
    assert -3 * found.mutual_information.standard_error < found.mutual_information.value < math.log(len(test))
    for part in found[1:3]:
        assert part.value > -3 * part.standard_error
    figures = score(model, test)
    assert figures["n_aggregated"] == len(test)
    for name in PARTS:
        assert len(model.history_[name]) == 6
        assert figures[name] == pytest.approx(getattr(found, name).value, abs=5 * figures[f"{name}_error"])
        assert model.history_[name][-1] == pytest.approx(figures[name], abs=20 * figures[f"{name}_error"])
    rows = {label.strip(): value for label, value, _ in figure_rows(figures)}
    assert rows["mutual information"] == f"{figures['mutual_information']:.2f} ± {figures['mutual_information_error']:.2f}"
    assert {"total correlation", "dimension-wise KL"} <= set(rows)


@pytest.mark.slow
def test_scores_of_factors_are_there_and_shape_is_measured_as_a_factor_without_order(monkeypatch):
    train, test = mv.datasets.load("sprites")
    model = mv.VAE(latent_dim=2, hidden_dims=(8,), epochs=1, device="cpu").fit(train.values[:500])
    seen = []
    monkeypatch.setattr(scores, "sap_score", lambda codes, factors, nominal: seen.append(list(nominal)) or 0.5)
    figures = score(model, test.subset(slice(0, 300)), 2, 10)
    assert seen == [[0]]
    assert {"mig", "mig_density", "factor_vae", "higgins", "sap"} <= set(figures)
