"""Which of the tests are checks of which kind, and at which files they look.

A check of everything is one of whole models.  For one op's mutants the tests of that op are enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FINITE_DIFFERENCES, DISTRIBUTION, ORACLE, INVARIANT = KINDS = ("finite differences", "distribution", "oracle", "invariant")
ANY = "any test"  # of what is not sorted by kind: the mutants of the rooms around the ops
OPS = ("ops/",)
BROADCAST = ("ops/broadcast.py",)
BOUNDS = ("models/iwae.py", "models/objectives.py")
AUTOENCODERS = ("models/autoencoder.py", "models/contractive.py")
DISCRETE = ("ops/categorical.py", "models/categorical.py", "models/codebook.py", "models/objectives.py", "backend.py")
EVERYTHING = ("",)
TESTS = Path(__file__).parents[1]
HOME = {path.stem: path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py")}  # name → place


@dataclass(frozen=True)
class Check:
    """Tests of one kind, by how their names begin, and how the names of the files begin that they look at."""

    kind: str
    files: tuple[str, ...]
    tests: tuple[str, ...]


def check(kind: str, files: tuple[str, ...], tests_of: dict[str, str]) -> Check:
    """Make a check of file → the beginnings of names in it, without "test_"."""
    return Check(kind, files, tuple(f"{HOME[file]}::test_{name}" for file, names in tests_of.items() for name in names.split(" ")))


CHECKS = (
    # Gradients against finite differences.
    check(FINITE_DIFFERENCES, OPS, {"test_ops_gradients": "every_entry_agrees_with_finite_differences"}),
    check(FINITE_DIFFERENCES, BROADCAST, {"test_ops_gradients": "gradients_agree_with_finite_differences_in_any_shape[add"}),
    check(FINITE_DIFFERENCES, BOUNDS, {"test_iwae": "gradient_of_the_objective"}),
    check(
        FINITE_DIFFERENCES, ("evaluation/aggregate.py", "models/beta_tc.py"), {"test_surgery_models": "gradient_of_the_objective"}
    ),
    check(FINITE_DIFFERENCES, AUTOENCODERS, {"test_autoencoder": "gradient_of_the_objective"}),
    check(
        FINITE_DIFFERENCES,
        EVERYTHING,
        {
            "test_vae": "gradient_of_the_objective_against_finite_differences[bernoulli-4.0] "
            "gradient_of_the_objective_against_finite_differences[gaussian_shared-4.0]"
        },
    ),
    # What is drawn, against the distribution that it is named after.
    check(
        DISTRIBUTION,
        ("ops/sampling.py", "ops/kl.py"),
        {
            "test_sampling": "reparameterize_draws_from_the_gaussian[-1.5-1.2-float64] "
            "reparameterize_variance_draws_from_the_gaussian[-1.5-3.0] kl_is_the_mean_of_log_q_minus_log_p"
        },
    ),
    check(
        DISTRIBUTION,
        EVERYTHING,
        {
            "test_oracles": "latents_are_distributed_as_claimed",
            "test_likelihoods": "draws_have_the_mean_and_variance_that_nll_scores",
            "test_training": "noise_is_new_at_every_step_and_epoch",
            "test_estimators": "each_datum_has_noise_of_its_own",
        },
    ),
    check(DISTRIBUTION, ("models/generative.py", "models/priors.py"), {"test_priors": "draws_are_from"}),
    # Numbers, against numbers that come from elsewhere: plain NumPy, scipy, mpmath, closed forms.
    check(
        ORACLE,
        OPS,
        {
            "test_ops": "forward_agrees_with_the_reference a_fixed_variance dense_gradients_of_few_rows",
            "test_ops_accuracy": "extremes logsumexp_far_out float32_losses_to_four_units_in_the_last_place",
        },
    ),
    check(ORACLE, BROADCAST, {"test_ops_accuracy": "a_sum_of_any_length"}),
    check(ORACLE, ("ops/flow.py", "models/flow.py"), {"test_flow": "terms_are density_integrates a_step_that_turns"}),
    check(ORACLE, ("ops/flow.py",), {"test_planar": ""}),
    check(ORACLE, ("ops/categorical.py",), {"test_categorical_ops": ""}),
    check(ORACLE, ("ops/layer.py",), {"test_layer": "a_layer_is_its_two"}),
    check(ORACLE, ("models/two_layers.py",), {"test_two_layers": "objective_is_made log_likelihood_of_a_linear"}),
    check(
        ORACLE,
        DISCRETE,
        {
            "test_categorical": "the_largest_of gumbel_noise kl_is bound_and_log the_weight",
            "test_codebook": "the_code_is who_gets without_a_memory moving_averages training_follows bound_is perplexity",
        },
    ),
    check(ORACLE, ("ops/penalty.py",), {"test_penalty": "sparsity quantize_goes a_value_in_place"}),
    check(ORACLE, ("optim.py",), {"test_optim": "adam_is_the_papers_at_every_step"}),
    check(
        ORACLE,
        ("evaluation/aggregate.py",),
        {"test_aggregate": "parts_of_a_lattice densities_are_those weights_are_on_the_diagonal where_theory_says_so_a_batch_meets"},
    ),
    check(ORACLE, ("evaluation/estimators.py",), {"test_estimators": "log_weights_are any_chunking_gives_the_direct_sum"}),
    check(
        ORACLE,
        BOUNDS,
        {"test_iwae": "bound_is_the_logarithm doubly_reparameterized", "test_objectives": "each_term the_importance"},
    ),
    check(
        ORACLE,
        AUTOENCODERS,
        {
            "test_autoencoder": "weights_are_penalised sparsity_term",
            "test_contractive": "contraction_is_the_squared contraction_of_one",
        },
    ),
    check(
        ORACLE,
        ("evaluation/disentanglement.py",),
        {"test_disentanglement": "mutual_information_against mutual_information_of_known"},
    ),
    check(
        ORACLE,
        EVERYTHING,
        {
            "test_vae": "loss_is_a_sum_over_pixels_and_latents_averaged_over_the_batch_once",
            "test_likelihoods": "nll_is_that_of_scipy",
            "test_family_figures": "gradients_in_float32",
            "test_oracles": "elbo_and_divergence sampled_elbo_has ladder_from_the_elbo with_the_exact_posterior",
        },
    ),
    # What has to hold whatever the numbers are.
    check(
        INVARIANT,
        OPS,
        {
            "test_ops": "dtype_is_kept nothing_is_written_to memory_layout only_what_is_needed an_empty_batch a_tensor_used_twice "
            "a_second_call "
            "one_tensor_as_both dense_writes the_kinks_of_rectifiers what_does_not_fit_is_refused"
        },
    ),
    check(
        INVARIANT,
        ("ops/mixture.py", "ops/matching.py"),
        {"test_surgery_models": "mixture_ blocks_cover ops_of_batches covariance_of_codes_far"},
    ),
    check(INVARIANT, ("ops/kl.py",), {"test_sampling": "kl_is_never_negative"}),
    check(INVARIANT, ("ops/penalty.py",), {"test_penalty": "the_kink the_gradient_passes scaled_gradient the_scale_may"}),
    check(INVARIANT, ("models/flow.py",), {"test_flow": "every_step_can_be_undone"}),
    check(INVARIANT, ("autodiff.py",), {"test_autodiff": "", "test_tensor": ""}),
    check(INVARIANT, ("optim.py",), {"test_optim": "first_step_of_adam optimisers_find_the_minimum"}),
    check(
        INVARIANT,
        ("evaluation/aggregate.py",),
        {"test_aggregate": "parts_add_up information_is_between identical_posteriors"},
    ),
    check(INVARIANT, ("evaluation/estimators.py",), {"test_estimators": "extreme_log_weights bound_rises"}),
    check(INVARIANT, BOUNDS, {"test_iwae": "the_bound_tightens both_gradients_have_the_same_decoder"}),
    check(INVARIANT, ("evaluation/disentanglement.py",), {"test_disentanglement": "mutual_information_has_its_bounds"}),
    check(
        INVARIANT,
        EVERYTHING,
        {
            "test_vae": "loss_does_not_depend_on_the_batch_size beta_in_training_is_beta_in_validation elbo_never_exceeds elbo_is",
            "test_training": "history_has_one_value evaluation_covers_all_rows",
        },
    ),
)


def checks_for(file: str, whole_models: bool) -> Iterator[Check]:
    """Yield the checks that look at a file, its own first."""
    yield from (check for check in CHECKS if check.files != EVERYTHING and file.startswith(check.files))
    if whole_models:
        yield from (check for check in CHECKS if check.files == EVERYTHING)
