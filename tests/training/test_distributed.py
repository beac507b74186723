"""Several processes that train one model: the result of one process, an orderly end for all, and a loud one when one dies."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import minivae as mv
from minivae.checks import DeviceError, installing
from minivae.training import checkpoint
from minivae.training.interruption import Latch
from minivae.training.mpi import Peers, Share

pytestmark = pytest.mark.slow  # processes under mpiexec

pytest.importorskip("mpi4py", reason="mpi4py is not installed (pip install -e '.[mpi]')")
needs_mpi = pytest.mark.skipif(shutil.which("mpiexec") is None, reason="mpiexec is not installed")

ENVIRONMENT = os.environ | {
    "PYTHONPATH": str(Path(mv.__file__).parents[1]),
    "OMP_NUM_THREADS": "1",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_mpi_yield_when_idle": "1",
}
SMALL = ["--latent-dim", "3", "--hidden-dims", "11", "--batch-size", "20", "--device", "cpu", "--quiet", "--eval-examples", "20"]


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a command in n processes, in an empty folder."""
    rng = np.random.default_rng(0)
    test = {"x_test": rng.random((31, 7)), "y_test": np.arange(31) % 3}
    np.savez(tmp_path / "mine.npz", x=rng.random((123, 7)), y=np.arange(123) % 3, **test)
    begun = []

    def run(n: int, *arguments: object) -> subprocess.Popen:
        line = [sys.executable, "-m", "minivae", "train", "--data", "mine.npz", *SMALL, *map(str, arguments)]
        line = ["mpiexec", "-n", str(n), *line, "--distributed"] if n else line
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        begun.append(subprocess.Popen(line, cwd=tmp_path, env=ENVIRONMENT, **pipes))
        return begun[-1]

    yield run
    for process in begun:
        if process.poll() is None:
            process.terminate()  # so that mpiexec ends the others too
        process.communicate()


CASES = {
    "VAE": ["--model", "VAE"],
    "IWAE, float64": ["--model", "IWAE", "--dtype", "float64"],
    "conditional, clipped": ["--model", "ConditionalVAE", "--clip-norm", "0.5", "--noise", "counter", "--dtype", "float64"],
    "denoising, penalties": ["--model", "DenoisingAutoencoder", "--l1", "0.01", "--l2", "0.01", "--dtype", "float64"],
    "dynamic, warm-up": ["--binarize", "dynamic", "--warm-up-epochs", "2", "--dtype", "float64"],
    "descent, best epoch kept": ["--optimizer", "sgd", "--learning-rate", "0.5", "--patience", "1", "--dtype", "float64"],
}


@needs_mpi
@pytest.mark.parametrize("case", CASES)
def test_two_processes_do_what_one_does(start, tmp_path, case):
    """123 rows in batches of 61: two steps of two shares that differ by one, and a last batch of a single row for both.

    The sum over a batch is in another order, and the float32 sums of the history pass through float32: a few units in the last
    place at each of the 9 steps, which Adam's division by a small root can enlarge a hundredfold.
    """
    settings = [*CASES[case], "--batch-size", 61, "--epochs", 3]
    single, double = start(0, *settings, "--name", "one"), start(2, *settings, "--name", "two")
    for process in (single, double):
        _, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
    one, two = (mv.load(tmp_path / "runs" / name / "model.safetensors", "cpu") for name in ("one", "two"))
    eps = np.finfo(one.dtype).eps
    np.testing.assert_allclose(two.parameters_.values, one.parameters_.values, rtol=0, atol=1e4 * eps)
    assert one.parameters_.values.std() > 0.05
    for name, values in one.history_.items():
        if name != "seconds":
            np.testing.assert_allclose(two.history_[name], values, rtol=1e4 * eps, atol=1e4 * eps, err_msg=name)
    assert sorted(os.listdir(tmp_path / "runs")) == ["one", "two"]


def wait_for(path: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert path.exists(), process.communicate()[1]


def children_of(process: subprocess.Popen) -> list[int]:
    return [int(text) for text in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


@needs_mpi
def test_process_that_dies_ends_the_job_with_a_message_and_leaves_a_checkpoint(start, tmp_path):
    file = tmp_path / "runs/mine/checkpoint.safetensors"
    process = start(2, "--epochs", 99999, "--name", "mine", "--checkpoint-every", "0.05s")
    wait_for(file, process)
    os.kill(children_of(process)[-1], signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "signal 9" in err or "KILLED" in err
    epoch = checkpoint.load(file)[1]["training"]["epoch"]
    line = [sys.executable, "-m", "minivae", "train", "--resume", "mine", "--epochs", str(epoch + 1), "--quiet"]
    subprocess.run(line, cwd=tmp_path, env=ENVIRONMENT, check=True, timeout=60)
    assert len(mv.load(tmp_path / "runs/mine/model.safetensors").history_["epoch"]) == epoch + 1


@needs_mpi
def test_signal_ends_all_after_the_same_step(start, tmp_path):
    file = tmp_path / "runs/mine/checkpoint.safetensors"
    process = start(2, "--epochs", 99999, "--name", "mine", "--checkpoint-every", "0.05s")
    wait_for(file, process)
    os.kill(children_of(process)[0], signal.SIGTERM)  # to one of them
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    step = checkpoint.load(file)[1]["training"]["step"]
    assert f"minivae: interrupted, step {step} is saved; go on with: minivae train --resume runs/mine" in err


@needs_mpi
@pytest.mark.parametrize(
    ("setting", "value", "complaint"),
    [
        ("--free-bits", 0.1, "--distributed: expected a loss that is a mean over examples, got free_bits = 0.1, which looks at"),
        ("--learning-rate", 1e30, "training: expected a finite loss, got the sum of the terms"),
    ],
)
def test_complaint_of_one_process_ends_all(start, setting, value, complaint):
    process = start(2, setting, value)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"of 2 ends all: {complaint}" in err
    assert "Traceback" not in err


def test_shares_of_the_noise_are_the_whole():
    for shape in ((11, 3), (5, 11, 3)):
        whole = np.random.default_rng(0).standard_normal(shape, dtype="float32")
        for rank in range(3):
            own = slice(rank, 11 - rank)
            share = Share(np.random.default_rng(0), 11, own)
            drawn = share.standard_normal((*shape[:-2], 11 - 2 * rank, 3), dtype="float32")
            np.testing.assert_array_equal(drawn, whole[..., own, :])


def test_without_mpi4py_the_reason_and_the_mend_are_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(DeviceError, match=re.escape(installing("mpi"))):
        Peers(Latch())
