"""Processes with common memory: the result of one process, hooks that are obeyed, and no process left behind by any end."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import minivae as mv
from minivae.checks import DeviceError, InputError, MinivaeError, NonFiniteError, installing
from minivae.optim import Adam
from minivae.training.keeper import Keeper
from minivae.training.team import Team
from minivae.training.trainer import CHECK_EVERY

pytest.importorskip("threadpoolctl", reason="threadpoolctl is not installed (pip install -e '.[processes]')")
pytestmark = [
    pytest.mark.slow,  # processes of their own
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked on Linux alone"),
]

ROWS = np.random.default_rng(0).random((123, 7))
LABELS = np.arange(123) % 3
SMALL = {"latent_dim": 3, "hidden_dims": (11,), "batch_size": 61, "epochs": 3, "device": "cpu"}


def children() -> set[str]:
    return set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())


@pytest.fixture(autouse=True)
def no_process_is_left():
    before = children()
    yield
    assert children() <= before


CASES = {
    "VAE": (mv.VAE, {}),
    "IWAE, float64": (mv.IWAE, {"dtype": "float64"}),
    "conditional, clipped": (mv.ConditionalVAE, {"clip_norm": 0.5, "noise": "counter", "dtype": "float64"}),
    "denoising, penalties": (mv.DenoisingAutoencoder, {"l1": 0.01, "l2": 0.01, "dtype": "float64"}),
    "dynamic, warm-up": (mv.VAE, {"binarize": "dynamic", "warm_up_epochs": 2, "dtype": "float64"}),
    "descent": (mv.VAE, {"optimizer": "sgd", "learning_rate": 1e-2, "dtype": "float64"}),
    "best epoch kept": (mv.VAE, {"patience": 1, "learning_rate": 0.5, "epochs": 9, "dtype": "float64"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_several_processes_do_what_one_does(case, processes):
    """123 rows in batches of 61: two steps of shares that differ by a row, and a last batch of a single row.

    The sum over a batch is in another order: a few units in the last place at each of the 9 steps, which Adam's division by a
    small root can enlarge a hundredfold.
    """
    kind, settings = CASES[case]
    one, several = (kind(**SMALL | settings, processes=n).fit(ROWS, LABELS, ROWS[:31], LABELS[:31]) for n in (1, processes))
    eps = np.finfo(one.dtype).eps
    np.testing.assert_allclose(several.parameters_.values, one.parameters_.values, rtol=0, atol=1e4 * eps)
    assert one.parameters_.values.std() > 0.05
    for name, values in one.history_.items():
        if name != "seconds":
            np.testing.assert_allclose(several.history_[name], values, rtol=1e4 * eps, atol=1e4 * eps, err_msg=name)


def test_same_seed_gives_the_same_bits():
    first, again = (mv.VAE(**SMALL, processes=2).fit(ROWS) for _ in range(2))
    np.testing.assert_array_equal(first.parameters_.values, again.parameters_.values)


def test_what_a_hook_changes_is_changed_for_all():
    """A learning rate and a parameter, between two steps: where a follower began early, its part would go another way."""

    def meddle(trainer):
        time.sleep(0.002)
        trainer.optimizer.learning_rate *= 0.9
        trainer.model.parameters_.values *= 1.01

    one, two = (mv.VAE(**SMALL, dtype="float64", processes=n).fit(ROWS, on_step=meddle) for n in (1, 2))
    np.testing.assert_allclose(two.parameters_.values, one.parameters_.values, rtol=0, atol=1e-12)


def test_memory_is_a_models_own_again_afterwards():
    vae = mv.VAE(**SMALL, processes=2).fit(ROWS)
    before = vae.parameters_.values.copy()
    child = os.fork()
    if child == 0:
        vae.parameters_.values[...] = 7  # in memory that was still common, this would reach the parent
        os._exit(0)
    os.waitpid(child, 0)
    np.testing.assert_array_equal(vae.parameters_.values, before)
    for parameter in vae.parameters_.parameters.values():
        assert np.shares_memory(parameter.data, vae.parameters_.values)
        assert np.shares_memory(parameter.grad, vae.parameters_.gradients)


def test_error_in_a_hook_ends_all():
    def fail(trainer):
        raise ZeroDivisionError

    vae = mv.VAE(**SMALL, processes=3)
    with pytest.raises(ZeroDivisionError):
        vae.fit(ROWS, on_step=fail)
    assert np.isfinite(vae.transform(ROWS)).all()


def test_follower_that_dies_is_noticed():
    def kill(trainer):
        os.kill(int(next(iter(children() - before))), signal.SIGKILL)

    before = children()
    with pytest.raises(MinivaeError, match=r"process [12] of 3 has died"):
        mv.VAE(**SMALL, processes=3).fit(ROWS, on_step=kill)


@pytest.mark.parametrize("taken", ["waited for by others", "by a handler", "never"])
def test_follower_whose_end_others_have_taken_note_of(taken):
    """User code may wait for any child, or ask the system to forget all that end."""
    before, handler = children(), signal.getsignal(signal.SIGCHLD)

    def reap(*_):
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    def kill(trainer):
        os.kill(int(next(iter(children() - before))), signal.SIGKILL)
        if taken == "waited for by others":
            os.waitpid(-1, 0)

    settings = {"by a handler": reap, "never": signal.SIG_IGN}
    signal.signal(signal.SIGCHLD, settings.get(taken, handler))
    try:
        with pytest.raises(MinivaeError, match=r"processes: process [12] of 3 has died"):
            mv.VAE(**SMALL, processes=3).fit(ROWS, on_step=kill)
        sound = mv.VAE(**SMALL, processes=3).fit(ROWS)
    finally:
        signal.signal(signal.SIGCHLD, handler)
    assert np.isfinite(sound.transform(ROWS)).all()


def test_no_signal_is_sent_to_a_number_that_is_no_longer_a_followers(monkeypatch):
    """Where others have waited for a follower, another process may have its number by now."""
    killed = []
    kill = os.kill
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append(pid) or kill(pid, number))

    def end_all(trainer):
        for pid in followers():
            kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        raise ZeroDivisionError

    before = children()

    def followers() -> list[int]:
        return [int(pid) for pid in children() - before]

    with pytest.raises(ZeroDivisionError):
        mv.VAE(**SMALL, processes=3).fit(ROWS, on_step=end_all)
    assert not killed


def test_bad_data_that_a_follower_meets_is_complained_of_as_always(tmp_path, monkeypatch):
    """A mapped file that is too large to be looked through before: each batch is checked when it is taken."""
    rows = ROWS.astype("float32")
    rows[100] = np.nan
    np.save(tmp_path / "rows.npy", rows)
    monkeypatch.setattr("minivae.training.batches.CHECK_AT_ONCE", 0)
    seen = set()
    for seed in range(8):  # so that the row is in the share of each in turn
        with pytest.raises(MinivaeError, match=r"^x: expected .* row 100") as caught:  # by this process, or by the other
            mv.VAE(**SMALL, processes=2, seed=seed).fit(np.load(tmp_path / "rows.npy", mmap_mode="r"))
        seen.add(type(caught.value))
    assert seen == {InputError}


# A training that stands still: in a hook of the first process, for which the others wait, or in what the others compute.
STANDING = """
import os, signal, sys, time
import numpy as np, minivae as mv
from minivae.training.team import Team

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup ignores

first, average = os.getpid(), Team.average
def standing(team, *args):
    if sys.argv[1] == "computing" and os.getpid() != first:
        time.sleep(1000)
    return average(team, *args)
Team.average = standing

def tell(trainer):
    print(open(f"/proc/{first}/task/{first}/children").read(), flush=True)
    if sys.argv[1] == "waiting":
        time.sleep(1000)
def share(team, *args, share=Team.share):
    if sys.argv[1] == "computing" and os.getpid() == first:
        tell(None)
    return share(team, *args)
Team.share = share

vae = mv.VAE(latent_dim=3, hidden_dims=(11,), batch_size=61, epochs=10**6, device="cpu", processes=3)
vae.fit(np.random.default_rng(0).random((123, 7)), on_step=tell)
"""


@pytest.mark.parametrize("others", ["waiting", "computing"])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGHUP, signal.SIGSEGV])
def test_followers_end_with_the_first_process_whatever_they_do(others, end, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path(mv.__file__).parents[1])}
    line = [sys.executable, "-c", STANDING, others]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path)
    followers = process.stdout.readline().split()
    assert len(followers) == 2
    process.send_signal(end)
    process.wait(60)
    deadline = time.monotonic() + 10  # on a busy machine; the signal itself is there at once
    while (left := [pid for pid in followers if is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.001)
    for pid in left:
        os.kill(int(pid), signal.SIGKILL)
    process.stdout.close()
    assert not left


def is_running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("step", [4, CHECK_EVERY])
def test_what_stops_being_finite_is_named_as_by_one_process(step):
    """Also when it does so where the numbers are looked at: a follower that looked too might see what the first has not yet."""

    def poison(trainer):
        if trainer.step == step:
            trainer.model.encoder_.layers[0].weight.data[2, 3] = np.nan
            time.sleep(0.01)

    messages = []
    for processes in (1, 2):
        with pytest.raises(NonFiniteError) as caught:
            mv.VAE(**SMALL | {"epochs": 30}, processes=processes).fit(ROWS, on_step=poison)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "encoder.0.weight" in messages[0]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_overflow_is_traced_to_its_op_by_the_first_process_alone():
    data = np.where(np.arange(123)[:, None] == 100, 1e38, ROWS).astype("float32")
    settings = SMALL | {"likelihood": "gaussian_fixed"}
    messages = []
    for processes in (1, 2):
        with pytest.raises(NonFiniteError) as caught:
            mv.VAE(**settings, processes=processes).fit(data)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_interrupted_run_goes_on_to_the_same_bits(tmp_path):
    np.savez(tmp_path / "mine.npz", x=ROWS)
    environment = os.environ | {"PYTHONPATH": str(Path(mv.__file__).parents[1])}
    begin = [sys.executable, "-m", "minivae", "train", "--quiet", "--data", "mine.npz", "--processes", "2", "--device", "cpu"]
    begin += ["--latent-dim", "3", "--hidden-dims", "11", "--batch-size", "4", "--eval-examples", "20"]

    def run(*line, wait=True):
        process = subprocess.Popen(list(line), cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        return process.communicate(timeout=100)[1] if wait else process

    run(*begin, "--epochs", "40", "--name", "whole")
    broken = run(*begin, "--epochs", "40", "--name", "broken", "--checkpoint-every", "0.01s", wait=False)
    checkpoint = tmp_path / "runs/broken/checkpoint.safetensors"
    while not checkpoint.exists() and broken.poll() is None:
        time.sleep(0.001)
    broken.send_signal(signal.SIGTERM)
    err = broken.communicate(timeout=100)[1]
    assert broken.returncode == 143, err
    assert "is saved; go on with: minivae train --resume runs/broken" in err
    run(sys.executable, "-m", "minivae", "train", "--resume", "broken", "--quiet")
    whole, broken = (mv.load(tmp_path / "runs" / name / "model.safetensors", "cpu") for name in ("whole", "broken"))
    np.testing.assert_array_equal(broken.parameters_.values, whole.parameters_.values)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_parts_of_an_optimisers_step_make_the_whole(optimizer):
    from minivae.optim import make_optimizer

    rng = np.random.default_rng(0)
    start, parts = rng.standard_normal(150_001), (slice(0, 70_000), slice(70_000, 150_001))
    whole, pieces = start.copy(), start.copy()
    one = make_optimizer(optimizer, start.size, np, start.dtype, 1e-2)
    several = [make_optimizer(optimizer, start.size, np, start.dtype, 1e-2) for _ in parts]
    for _ in range(3):
        g = rng.standard_normal(start.size)
        one.step(whole, g)
        for each, part in zip(several, parts):
            each.step(pieces, g, part)
    np.testing.assert_array_equal(pieces, whole)


def test_threads_of_matrix_products_are_given_back(tmp_path):
    """Also by several trainings at the same time, which take turns, since a process has one number of them for all."""
    script = f"""
import itertools, threading, time
import numpy as np, minivae as mv
from threadpoolctl import threadpool_info

def threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

def fit(seed):
    def tell(trainer):
        said.append(seed)
        within.extend(threads())
        time.sleep(0.01)
    settings = {SMALL!r} | {{"seed": seed}}
    models[seed] = mv.VAE(**settings, processes=8).fit(np.random.default_rng(0).random((123, 7)), on_epoch=tell)

before, said, within, models = threads(), [], [], {{}}
workers = [threading.Thread(target=fit, args=(seed,)) for seed in range(3)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
assert set(within) == {{1}}, within
assert threads() == before, threads()
assert [seed for seed, _ in itertools.groupby(said)] == list(dict.fromkeys(said)), said
for seed, model in list(models.items()):
    fit(seed)
    assert (models[seed].parameters_.values == model.parameters_.values).all()
"""
    environment = os.environ | {"PYTHONPATH": str(Path(mv.__file__).parents[1]), "OPENBLAS_NUM_THREADS": "4"}
    subprocess.run([sys.executable, "-c", script], env=environment, cwd=tmp_path, check=True)


def test_a_training_within_a_hook_of_another_does_not_wait_for_it():
    inner = []

    def fit(trainer):
        inner.append(mv.VAE(**SMALL | {"epochs": 1}, processes=2).fit(ROWS))

    outer, alone = (mv.VAE(**SMALL | {"epochs": 2}, processes=2).fit(ROWS, on_epoch=hook) for hook in (fit, None))
    np.testing.assert_array_equal(outer.parameters_.values, alone.parameters_.values)
    assert len(inner) == 2


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"free_bits": 0.1}, InputError, "processes: expected a loss that is a mean over examples, got free_bits = 0.1"),
        ({"processes": 0}, InputError, "processes: expected"),
        ({"processes": 1.5}, InputError, "processes: expected"),
    ],
)
def test_what_cannot_be_shared_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        mv.VAE(**SMALL | {"processes": 2} | settings).fit(ROWS)


def test_without_threadpoolctl_the_mend_is_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    with pytest.raises(DeviceError, match=re.escape(installing("processes"))):
        mv.VAE(**SMALL, processes=2).fit(ROWS)


@pytest.mark.parametrize(("what", "value"), [("sys.platform", "darwin"), ("platform.machine", lambda: "aarch64")])
def test_elsewhere_than_on_linux_and_x86_it_is_refused(monkeypatch, what, value):
    monkeypatch.setattr(what, value)
    with pytest.raises(DeviceError, match="Linux and x86"):
        mv.VAE(**SMALL, processes=2).fit(ROWS)


def test_follower_never_goes_on_into_its_callers_code(tmp_path, monkeypatch):
    """It fails where it cannot even say so."""
    here, average = os.getpid(), Team.average

    def fails_elsewhere(*args):
        if os.getpid() != here:
            raise ZeroDivisionError
        return average(*args)

    monkeypatch.setattr(Team, "average", fails_elsewhere)
    monkeypatch.setattr(sys, "stderr", None)
    try:
        with pytest.raises(MinivaeError, match="has died"):
            mv.VAE(**SMALL, processes=3).fit(ROWS)
    finally:
        (tmp_path / str(os.getpid())).touch()
    assert os.listdir(tmp_path) == [str(here)]


def test_a_signal_at_the_fork_reaches_the_first_process_alone(monkeypatch):
    """It comes while a child is being made: nothing of the caller runs in the child, and all end."""
    fork = os.fork

    def interrupted():
        os.kill(os.getpid(), signal.SIGINT)
        return fork()

    monkeypatch.setattr(os, "fork", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mv.VAE(**SMALL | {"epochs": 10**6}, processes=3).fit(ROWS)


def test_a_signal_that_another_thread_takes_at_the_fork_is_not_lost(monkeypatch):
    """Its handler then runs in Python's hooks of a fork, which throw away what is raised in them."""
    fork, woken, end = os.fork, *os.pipe()
    other = threading.Thread(target=threading.Event().wait, daemon=True)

    def interrupted():
        with contextlib.suppress(KeyboardInterrupt):
            signal.pthread_kill(other.ident, signal.SIGINT)
            os.read(woken, 1)  # Python has noted the signal
        return fork()

    other.start()
    os.set_blocking(end, False)
    monkeypatch.setattr(os, "fork", interrupted)
    previous = signal.set_wakeup_fd(end)
    try:
        with pytest.raises(KeyboardInterrupt):
            mv.VAE(**SMALL, processes=3).fit(ROWS)
    finally:
        signal.set_wakeup_fd(previous)
        os.close(woken)
        os.close(end)


def test_a_second_signal_at_the_end_leaves_no_process_behind(monkeypatch):
    """It comes after the first of two followers was ended."""
    kill = os.kill

    def interrupted(child, signum):
        kill(child, signum)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(os, "kill", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mv.VAE(**SMALL, processes=3).fit(ROWS)


def test_a_checkpoint_goes_on_with_another_number_of_processes(tmp_path):
    one = mv.VAE(**SMALL, dtype="float64").fit(ROWS)
    for epochs, processes in ((1, 2), (2, 3), (3, 1)):
        keeper = Keeper(tmp_path / "kept", every="1")
        hooks = {name: getattr(keeper, name) for name in ("on_start", "on_step", "on_epoch")}
        several = mv.VAE(**SMALL | {"epochs": epochs}, dtype="float64", processes=processes).fit(ROWS, **hooks)
    np.testing.assert_allclose(several.parameters_.values, one.parameters_.values, rtol=0, atol=1e-11)


def test_adam_counts_a_step_of_a_part_as_one():
    adam = Adam(10, np, "float64")
    adam.step(np.zeros(10), np.ones(10), slice(3, 5))
    assert adam.steps == 1
