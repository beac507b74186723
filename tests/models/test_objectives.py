"""Where terms become one number: weights, averages, warm-up, free bits and capacity."""

from __future__ import annotations

import numpy as np
import pytest
from support.family import K, X, blank, objective, parameters
from support.helpers import complaint

import minivae as mv
from minivae.autodiff import Tensor, topological_order
from minivae.checks import InputError
from minivae.models.objectives import (
    capacity_loss,
    free_bits_kl,
    importance_weighted_bound,
    l1_norm,
    l2_norm_squared,
    negative_elbo,
    penalized,
    semi_supervised_loss,
    warm_up,
)
from minivae.proof.gradcheck import gradcheck

RNG = np.random.default_rng(0)
RECONSTRUCTION, KL = RNG.uniform(20, 30, 13), RNG.uniform(1, 5, 13)
PER_DIMENSION = RNG.uniform(0, 1, (13, 5))


def test_each_term_is_averaged_over_the_batch_once():
    r, kl = Tensor(RECONSTRUCTION), Tensor(KL)
    assert negative_elbo(r, kl).item() == pytest.approx(RECONSTRUCTION.mean() + KL.mean())
    assert negative_elbo(r, kl, 4.0).item() == pytest.approx(RECONSTRUCTION.mean() + 4 * KL.mean())
    for capacity in (0.0, 2.0, 50.0):
        expected = RECONSTRUCTION.mean() + 7 * abs(KL.mean() - capacity)
        assert capacity_loss(r, kl, 7.0, capacity).item() == pytest.approx(expected)
    assert free_bits_kl(Tensor(PER_DIMENSION), 0.5).item() == pytest.approx(np.maximum(0.5, PER_DIMENSION.mean(axis=0)).sum())
    terms = {"reconstruction": r, "a": kl, "b": Tensor(np.array(3.0)), "unweighted": kl}
    assert penalized(terms, {"a": 2.0, "b": 0.5}).item() == pytest.approx(RECONSTRUCTION.mean() + 2 * KL.mean() + 1.5)


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_a_weight_of_one_is_not_multiplied_by(beta):
    """That would cost two launches on a GPU in each step, and a line more on the tape that a reader looks at."""
    r, kl = (Tensor(values, requires_grad=True) for values in (RECONSTRUCTION, KL))
    ops = {tensor.node.op.name for tensor in topological_order(negative_elbo(r, kl, beta)) if tensor.node}
    assert ("mul" in ops) == (beta != 1)


def test_norms_run_over_all_entries_of_all_tensors():
    a, b = Tensor(RNG.standard_normal((5, 7))), Tensor(RNG.standard_normal((7, 3)))
    assert l1_norm([a, b]).item() == pytest.approx(np.abs(a.data).sum() + np.abs(b.data).sum())
    assert l2_norm_squared([a, b]).item() == pytest.approx((a.data**2).sum() + (b.data**2).sum())


def test_the_importance_weighted_bound_is_the_logarithm_of_the_mean_weight():
    log_w = RNG.normal(-3, 2, (4, 13))
    np.testing.assert_allclose(importance_weighted_bound(Tensor(log_w)).data, np.log(np.exp(log_w).mean(axis=0)))
    shifted = importance_weighted_bound(Tensor(log_w - 5000)).data  # weights of e^−5000
    np.testing.assert_allclose(shifted, np.log(np.exp(log_w).mean(axis=0)) - 5000)


def test_warm_up_is_a_line_from_nothing_to_all():
    assert [warm_up(t, 4) for t in (0, 1, 3, 4, 9)] == [0, 0.25, 0.75, 1, 1]
    assert warm_up(0, 0) == 1


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"free_bits": 0.1}, {"capacity": 50.0, "beta": 3.0}, {"capacity": 0.01}], ids=str)
def test_gradient_of_the_objective(settings):
    vae = blank(mv.VAE, **settings)
    gradcheck(objective(vae), parameters(vae))


def test_free_bits_of_nothing_and_a_capacity_of_nothing_are_the_plain_objective():
    terms = blank(mv.VAE).terms(X, np.random.default_rng(2))
    plain = mv.VAE(beta=2.0).loss(terms).item()
    vae = blank(mv.VAE, free_bits=1e-300, beta=2.0)
    assert vae.loss(vae.terms(X, np.random.default_rng(2))).item() == pytest.approx(plain, rel=1e-12)
    assert mv.VAE(beta=2.0, capacity=1e-300).loss(terms).item() == pytest.approx(plain, rel=1e-12)  # KL is positive


def test_warm_up_raises_beta_or_the_capacity():
    vae = blank(mv.VAE, beta=3.0, warm_up_epochs=10)
    terms = vae.terms(X, np.random.default_rng(2))
    reconstruction, kl = (terms[name].data.mean() for name in ("reconstruction", "kl"))
    assert vae.loss(terms, 4.0).item() == pytest.approx(reconstruction + 1.2 * kl)
    vae.set_params(capacity=100.0)
    assert vae.loss(terms, 4.0).item() == pytest.approx(reconstruction + 3 * (40 - kl))
    assert vae.loss(terms).item() == pytest.approx(reconstruction + 3 * (100 - kl))


DIGITS = {"latent_dim": 4, "hidden_dims": (61,), "epochs": 30, "learning_rate": 3e-3, "device": "cpu"}


@pytest.mark.slow
@pytest.mark.trained
def test_free_bits_keep_every_dimension_in_use(digits):
    """A weight of 20 shuts off all dimensions, unless half a nat of each is free."""
    without = mv.VAE(**DIGITS, beta=20.0).fit(digits[0])
    with_them = mv.VAE(**DIGITS, beta=20.0, free_bits=0.5).fit(digits[0])
    assert max(without.history_["kl_per_dimension"][-1]) < 0.1
    used = np.array(with_them.history_["kl_per_dimension"][-1])  # a batch whose mean is above by chance is pressed: so a bit below
    assert ((used > 0.15) & (used < 0.6)).all()  # 0.23 to 0.46 for three seeds


@pytest.mark.slow
@pytest.mark.trained
@pytest.mark.parametrize("capacity", [1.0, 6.0])
def test_capacity_holds_the_divergence_at_its_target(digits, capacity):
    """Unheld, the divergence of this model comes to 0.0 (β = 20) or 2.5 nats (β = 1): the target pulls it up and down."""
    held = mv.VAE(**DIGITS, beta=20.0, capacity=capacity, warm_up_epochs=10).fit(digits[0])
    assert held.history_["train_kl"][-1] == pytest.approx(capacity, rel=0.05)
    for beta in (1.0, 20.0):
        free = mv.VAE(**DIGITS, beta=beta).fit(digits[0])
        assert abs(free.history_["train_kl"][-1] - capacity) > 0.3 * capacity


def test_only_one_way_to_hold_the_divergence():
    message = complaint(InputError, mv.VAE(free_bits=0.1, capacity=2.0).fit, X)
    assert "free_bits: expected 0 where capacity is set, got 0.1; choose one" in message


def test_reports_stay_those_of_the_bound():
    for settings in ({"free_bits": 0.3}, {"capacity": 5.0}):
        history = blank(mv.VAE, **settings).history_
        assert history["train_elbo"][0] == pytest.approx(-history["train_reconstruction"][0] - history["train_kl"][0])
        assert len(history["kl_per_dimension"][0]) == K


def test_the_semi_supervised_loss_weighs_one_term_by_beta_and_one_by_alpha():  # (G.8)
    """β on the reconstruction, or a classification without the bound, would train another model under the same name."""
    labels, classification = RNG.uniform(0, 1, 13), 0.7
    terms = {"reconstruction": RECONSTRUCTION, "kl": KL, "label_kl": labels, "classification": np.array(classification)}
    loss = semi_supervised_loss({name: Tensor(value) for name, value in terms.items()}, 4.0, 10.0)
    assert loss.item() == pytest.approx(RECONSTRUCTION.mean() + labels.mean() + 4 * KL.mean() + 10 * classification)
