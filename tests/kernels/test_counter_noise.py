"""Counter noise: Philox as published, normal as promised, the same on every device, and a run that differs by arithmetic only."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats
from support import cuda_on_cpu
from support.device import needs_compiler

import minivae as mv
from minivae.backend import to_numpy
from minivae.kernels import source
from minivae.kernels.counter_noise import CounterGenerator, noise_source, philox

pytestmark = pytest.mark.slow  # a compiler makes the kernels for the CPU

# The known answers that Random123, the authors' own library, is tested with: counter, key, output.
KNOWN_ANSWERS = {
    "zeros": ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    "ones": ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    "digits of pi": ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
}
answers = pytest.mark.parametrize(("counter", "key", "output"), KNOWN_ANSWERS.values(), ids=KNOWN_ANSWERS)


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@answers
def test_philox_gives_the_published_answers(counter, key, output, xp):
    """(N.1), against the answers that its authors published."""
    counter = tuple(xp.asarray(np.array([word], np.uint64)) for word in words(counter))
    assert [int(to_numpy(word)[0]) for word in philox(counter, tuple(words(key)))] == words(output)


@pytest.mark.slow
@answers
def test_philox_in_cuda_c_gives_the_published_answers(counter, key, output):
    needs_compiler()
    raw = "KERNEL raw_philox(u32* words, u64 seed) { if (threadIdx.x == 0) philox(words, seed); }"
    kernel = cuda_on_cpu.compile_kernels(source("kernels.cu") + raw)["raw_philox"]
    result, (low, high) = np.array(words(counter), np.uint32), words(key)
    kernel(1, 32, result, np.uint64(low | high << 32))
    assert result.tolist() == words(output)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 1001])
@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**63 + 12345])
def test_the_kernel_draws_what_numpy_draws(n, seed, fused):
    here, there = CounterGenerator(np, seed, "noise", 3), CounterGenerator(fused, seed, "noise", 3)
    for _ in range(2):
        a, b = here.standard_normal((n,), "float32"), to_numpy(there.standard_normal((n,), "float32"))
        np.testing.assert_array_max_ulp(a, b, maxulp=1)
        np.testing.assert_array_equal(here.random((n,), "float32"), to_numpy(there.random((n,), "float32")))


def test_every_device_draws_the_same_without_kernels(xp):
    here, there = (CounterGenerator(module, 5, "sample") for module in (np, xp))
    for dtype in ("float32", "float64"):
        a, b = here.standard_normal((7, 11), dtype), to_numpy(there.standard_normal((7, 11), dtype))
        assert a.dtype == b.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=4 * np.finfo(dtype).eps)


def test_numbers_are_normal():
    """Their distribution by Kolmogorov and Smirnov's test, tails by counting; 2⁻³² is the finest step of the radius's uniform."""
    draws = CounterGenerator(np, 1, "noise").standard_normal((200_000,))  # (N.3)
    assert stats.kstest(draws, "norm").pvalue > 0.01
    for beyond in (2.0, 3.0, 4.0):
        expected = len(draws) * 2 * stats.norm.sf(beyond)
        assert abs((abs(draws) > beyond).sum() - expected) < 4 * np.sqrt(expected)
    pairs = draws.reshape(-1, 4)
    correlations = np.corrcoef(np.concatenate([pairs, pairs**2], axis=1).T) - np.eye(8)
    assert abs(correlations).max() < 5 / np.sqrt(len(pairs))  # also between the two of a pair and between their squares


def test_uniform_numbers_are_uniform_and_below_one():
    draws = CounterGenerator(np, 2, "noise").random((200_000,), "float32")  # (N.2)
    assert stats.kstest(draws, "uniform").pvalue > 0.01
    assert 0 <= draws.min() < draws.max() < 1
    np.testing.assert_array_equal(draws * 2**24, np.floor(draws * 2.0**24))  # exact in float32: no rounding up to 1


def test_the_dtype_does_not_change_the_noise():
    single, double = (CounterGenerator(np, 3, "noise").standard_normal((1001,), dtype) for dtype in ("float32", "float64"))
    np.testing.assert_array_equal(single, double.astype("float32"))


def test_streams_epochs_draws_and_seeds_have_nothing_in_common():
    def draws():
        for seed, stream, epoch in itertools.product((0, 1, 2**32), ("noise", "evaluate"), (None, 0, 1)):
            generator = CounterGenerator(np, seed, stream, epoch)
            for _ in range(2):
                yield generator.standard_normal((2000,))

    together = np.corrcoef(list(draws())) - np.eye(36)
    assert abs(together).max() < 5.5 / np.sqrt(2000)


def test_a_shape_is_filled_in_order():
    whole = CounterGenerator(np, 4, "noise").standard_normal((21,))
    np.testing.assert_array_equal(CounterGenerator(np, 4, "noise").standard_normal((3, 7)), whole.reshape(3, 7))


def test_the_setting_chooses_the_source():
    assert isinstance(noise_source("counter", np, 0, "noise", 1), CounterGenerator)
    assert isinstance(noise_source("generator", np, 0, "noise", 1), np.random.Generator)


# ---- Runs that differ by arithmetic only ---------------------------------------------------------------------------------------

STEPS = {"latent_dim": 6, "hidden_dims": (61,), "batch_size": 32, "epochs": 10, "learning_rate": 3e-3, "seed": 2}  # 100 of them


def trained(x, **settings) -> tuple[np.ndarray, np.ndarray]:
    vae = mv.VAE(**STEPS | {"device": "cpu", "noise": "counter", "dtype": "float64"} | settings).fit(x)
    return to_numpy(vae.parameters_.values).astype("float64"), np.array(vae.history_["train_loss"])


@pytest.mark.slow
def test_a_run_in_float32_stays_beside_one_in_float64_for_100_steps(digits):
    """The noise being the same, they drift apart as rounding lets them: about as far as when each pixel moves by one rounding."""
    x = digits[0][:320].astype("float64")
    parameters, losses = trained(x)
    moved = np.clip(x * (1 + np.finfo("float32").eps * np.random.default_rng(0).choice([-1.0, 1.0], x.shape)), 0, 1)
    allowed = 20 * abs(trained(moved)[0] - parameters).max()
    assert allowed < 2e-5
    single, single_losses = trained(x, dtype="float32")
    assert abs(single - parameters).max() < allowed
    np.testing.assert_allclose(single_losses, losses, rtol=3e-7)
    other, other_losses = trained(x, noise="generator")  # the same run with other noise: this is no property of training
    assert abs(other - parameters).max() > 1000 * allowed
    assert abs(other_losses - losses).max() > 0.01


@pytest.mark.slow
def test_a_run_on_a_device_stays_beside_one_on_the_cpu_for_100_steps(digits, device):
    if device == "cpu":
        pytest.skip("compares the CPU with another device")
    x = digits[0][:320]
    here, losses_here = trained(x, dtype="float32")
    there, losses_there = trained(x, dtype="float32", device=device)
    np.testing.assert_allclose(there, here, atol=1e-5)
    np.testing.assert_allclose(losses_there, losses_here, rtol=1e-5)


@pytest.mark.parametrize("settings", [{"binarize": "dynamic"}, {"likelihood": "gaussian"}])
def test_every_draw_of_a_model_comes_from_the_counter(settings, strict_device):
    """Noise, binarisation, evaluation and samples are the same on the CPU and on the stand-in for a device."""
    x = np.random.default_rng(0).uniform(size=(23, 7))
    here, there = (
        mv.VAE(latent_dim=2, hidden_dims=(5,), batch_size=8, epochs=2, noise="counter", device=device, **settings).fit(x, x_test=x)
        for device in ("cpu", "cuda")
    )
    for name in ("train_loss", "test_loss"):
        np.testing.assert_allclose(here.history_[name], there.history_[name], rtol=1e-5)
    for draw in (lambda vae: vae.sample(3, pixels="draw"), lambda vae: vae.log_likelihood(x, n_samples=3)):
        np.testing.assert_allclose(draw(here), to_numpy(draw(there)), rtol=1e-4, atol=1e-5)
