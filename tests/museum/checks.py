"""Which of the tests are checks of which kind, and which code they look at.

A test that looks at everything is made for whole models; for a mutant of one op the tests of that op are enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

FINITE_DIFFERENCES, DISTRIBUTION, ORACLE, INVARIANT = KINDS = ("finite differences", "distribution", "oracle", "invariant")
EVERYTHING = ("",)


@dataclass(frozen=True)
class Check:
    """Tests of one kind, by the beginnings of their names, and the beginnings of the files that they look at."""

    kind: str
    files: tuple[str, ...]
    tests: tuple[str, ...]


CHECKS = (
    Check(FINITE_DIFFERENCES, ("ops/",), ("test_ops_gradients.py::test_every_entry_agrees_with_finite_differences",)),
    Check(FINITE_DIFFERENCES, EVERYTHING, ("test_vae.py::test_gradient_of_the_objective_against_finite_differences",)),
    Check(
        DISTRIBUTION,
        ("ops/sampling.py", "ops/kl.py"),
        (
            "test_sampling.py::test_reparameterize_draws_from_the_gaussian[-1.5-1.2-float64]",
            "test_sampling.py::test_reparameterize_variance_draws_from_the_gaussian[-1.5-3.0]",
            "test_sampling.py::test_kl_is_the_mean_of_log_q_minus_log_p",
        ),
    ),
    Check(
        DISTRIBUTION,
        EVERYTHING,
        (
            "test_oracles.py::test_latents_are_distributed_as_claimed",
            "test_likelihoods.py::test_draws_have_the_mean_and_variance_that_nll_scores",
            "test_estimators.py::test_each_datum_has_noise_of_its_own",
            "test_training.py::test_noise_is_new_at_every_step_and_epoch",
        ),
    ),
    Check(
        ORACLE,
        ("ops/",),
        (
            "test_ops.py::test_forward_agrees_with_the_reference",
            "test_ops_accuracy.py::test_extremes",
            "test_ops_accuracy.py::test_logsumexp_far_out",
            "test_ops_accuracy.py::test_float32_losses_to_four_units_in_the_last_place",
        ),
    ),
    Check(ORACLE, ("optim.py",), ("test_optim.py::test_adam_is_the_papers_at_every_step",)),
    Check(
        ORACLE,
        ("estimators.py",),
        (
            "test_estimators.py::test_log_weights_are_the_difference_of_three_log_densities",
            "test_estimators.py::test_any_chunking_gives_the_direct_sum",
        ),
    ),
    Check(
        ORACLE,
        EVERYTHING,
        (
            "test_vae.py::test_loss_is_a_sum_over_pixels_and_latents_averaged_over_the_batch_once",
            "test_likelihoods.py::test_nll_is_that_of_scipy",
            "test_oracles.py::test_elbo_and_divergence_from_the_posterior_add_up_to_log_p",
            "test_oracles.py::test_sampled_elbo_has_the_exact_mean",
            "test_oracles.py::test_ladder_from_the_elbo_to_log_p",
            "test_oracles.py::test_with_the_exact_posterior_every_weight_is_p_of_x",
        ),
    ),
    Check(
        INVARIANT,
        ("ops/",),
        (
            "test_ops.py::test_dtype_is_kept",
            "test_ops.py::test_nothing_is_written_to",
            "test_ops.py::test_memory_layout_does_not_matter",
            "test_ops.py::test_only_what_is_needed_is_computed",
            "test_ops.py::test_an_empty_batch_passes_through",
            "test_ops.py::test_a_tensor_used_twice_gets_both_gradients",
            "test_ops.py::test_one_tensor_as_both_arguments",
            "test_ops.py::test_dense_writes_gradients_into_given_memory",
            "test_ops.py::test_the_kinks_of_rectifiers",
        ),
    ),
    Check(INVARIANT, ("ops/kl.py",), ("test_sampling.py::test_kl_is_never_negative",)),
    Check(INVARIANT, ("autodiff.py",), ("test_autodiff.py",)),
    Check(INVARIANT, ("optim.py",), ("test_optim.py::test_first_step", "test_optim.py::test_optimisers_find_the_minimum")),
    Check(INVARIANT, ("estimators.py",), ("test_estimators.py::test_extreme_log_weights", "test_estimators.py::test_bound_rises")),
    Check(
        INVARIANT,
        EVERYTHING,
        (
            "test_vae.py::test_loss_does_not_depend_on_the_batch_size",
            "test_vae.py::test_beta_in_training_is_beta_in_validation",
            "test_vae.py::test_elbo_never_exceeds_the_log_likelihood",
            "test_vae.py::test_elbo_is_the_negative_loss_of_the_same_noise",
            "test_vae.py::test_elbo_is_sampled",
            "test_training.py::test_history_has_one_value_per_epoch_of_every_figure",
            "test_training.py::test_evaluation_covers_all_rows_of_a_large_test_set",
        ),
    ),
)


def checks_for(file: str, whole_models: bool) -> Iterator[Check]:
    """Yield the checks that look at a file, those of the file itself first."""
    yield from (check for check in CHECKS if check.files != EVERYTHING and file.startswith(check.files))
    if whole_models:
        yield from (check for check in CHECKS if check.files == EVERYTHING)
