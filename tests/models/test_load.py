"""More data than memory, many fits in one process, and fits side by side."""

from __future__ import annotations

import gc
import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from support.helpers import complaint
from support.limits import data_bytes, in_child

import minivae as mv
from minivae.checks import InputError
from minivae.training import batches
from minivae.training.checkpoint import load as read_checkpoint

GIGABYTE = 2**30
SECONDS = 8.0  # of small fits, unless MINIVAE_FITS says how many there are to be
SMALL = {"latent_dim": 2, "hidden_dims": (5,), "epochs": 1, "batch_size": 8, "device": "cpu"}


# More data than memory -------------------------------------------------------------------------------------------------------


@pytest.fixture
def huge(tmp_path) -> Path:
    """A .npy of 8 GiB that takes next to no room on the disk."""
    path = tmp_path / "huge.npy"
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (2**21, 2**10)})
        file.truncate(file.tell() + 8 * GIGABYTE)
    if path.stat().st_blocks * 512 > GIGABYTE:
        pytest.skip("this file system knows no sparse files")
    return path


@pytest.mark.slow
def test_data_of_8_gigabytes_are_trained_on_in_a_fraction_of_that(huge):
    """The limit is the system's, on memory that the process asks for; and what was ever resident, the file's pages included."""

    class Enough(Exception):
        pass

    def work() -> int:
        def stop(trainer):
            if trainer.step == 200:
                raise Enough

        train, test = mv.datasets.load(huge)
        assert len(train) + len(test) == 2**21
        with pytest.raises(Enough):
            mv.VAE(latent_dim=4, hidden_dims=(32,), epochs=1, device="cpu").fit(train.values, x_test=test.values, on_step=stop)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        assert peak < 1.5 * GIGABYTE
        return peak >> 20

    print("200 steps on 8 GiB of data, at most", in_child(work, int(1.5 * GIGABYTE) - data_bytes()), "MiB resident")


@pytest.mark.slow
def test_command_trains_on_them_too_and_goes_on_after_a_stop(huge):
    code = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, ({int(1.5 * GIGABYTE)}, resource.RLIM_INFINITY))
from minivae.command.cli import main
sys.exit(main(sys.argv[1:]))
"""
    folder, environment = huge.parent, os.environ | {"PYTHONPATH": str(Path(mv.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    checkpoint, size = folder / "runs/huge/checkpoint.safetensors", {}
    new = ["--data", "huge.npy", "--name", "huge", "--epochs", "1", "--latent-dim", "2", "--hidden-dims", "8", "--device", "cpu"]
    for arguments in (new, ["--resume", "huge"]):
        line = [sys.executable, "-c", code, "train", *arguments, "--checkpoint-every", "0.2s", "--quiet"]
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        with subprocess.Popen(line, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and process.poll() is None:
                if checkpoint.exists() and checkpoint.stat().st_mtime_ns > before:
                    break
                time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=60)
            assert process.returncode == 143, err
        size[arguments[0]] = read_checkpoint(checkpoint)[1]["training"]["step"]
    assert size["--resume"] > size["--data"] > 0


@pytest.mark.parametrize("wrong", [np.nan, 3.0])
def test_bad_values_in_a_large_file_are_found_when_they_are_taken(tmp_path, monkeypatch, wrong):
    """Such a file is not read as a whole; the row is named all the same."""
    monkeypatch.setattr(batches, "CHECK_AT_ONCE", 0)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((2000, 7)))
    x = np.load(tmp_path / "x.npy", mmap_mode="r+")
    x[1234, 5] = wrong
    model = mv.VAE(**SMALL | {"batch_size": 100})
    message = complaint(InputError, model.fit, x)
    if wrong != 3.0:
        assert "nan at row 1234, column 5" in message
    else:
        assert "values in [0, 1]" in message
    model.fit(x[:1000])
    assert ("[0, 1]" if wrong == 3.0 else "nan at row 1234") in complaint(InputError, model.elbo, x)


# Many fits ---------------------------------------------------------------------------------------------------------------------


def resident() -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024


@pytest.mark.slow
def test_many_small_fits_leave_nothing_behind():
    """A leak of one small array or tensor for each fit would be 10 MB and 100,000 objects for 100,000 fits.

    MINIVAE_FITS=100000 makes so many of them.
    """
    n = int(os.environ.get("MINIVAE_FITS", "0"))
    x = np.random.default_rng(0).random((8, 3)).astype(np.float32)

    def work() -> str:
        def fit(count: int) -> None:
            for _ in range(count):
                mv.VAE(**SMALL).fit(x)

        fit(300)  # caches fill, the allocator finds its size
        gc.collect()
        objects, memory, made = len(gc.get_objects()), resident(), 0
        end = time.monotonic() + SECONDS
        while made < max(n, 500) or (not n and time.monotonic() < end):
            fit(100)
            made += 100
        gc.collect()
        more_objects, more_memory = len(gc.get_objects()) - objects, resident() - memory
        assert more_objects < made / 20
        assert more_memory < max(made * 30, 2**19), f"{more_memory / made} bytes for each fit"
        return f"{made} fits: {more_objects} objects and {more_memory} bytes more than after 300"

    print(in_child(work, seconds=3600))


# Side by side --------------------------------------------------------------------------------------------------------------------

JOBS = [
    ("VAE", {"seed": 1}),
    ("VAE", {"seed": 2, "binarize": "dynamic"}),
    ("IWAE", {"seed": 1, "noise": "counter"}),
    ("Autoencoder", {"tied": True, "optimizer": "sgd"}),
    ("VAE", {"dtype": "float64", "patience": 2}),
    ("ContractiveAutoencoder", {"seed": 3}),
    ("DenoisingAutoencoder", {"seed": 4}),
    ("SparseAutoencoder", {"seed": 5}),
]


def job(name: str, settings: dict) -> tuple[bytes, list[float], bytes]:
    x = np.random.default_rng(7).random((103, 9)).astype(np.float32)
    model = mv.MODELS[name](**SMALL | {"epochs": 8, "batch_size": 20} | settings).fit(x, x_test=x[:30])
    return model.parameters_.values.tobytes(), model.history_["test_loss"], model.elbo(x, seed=3).tobytes()


@pytest.fixture(scope="module")
def one_after_the_other() -> list:
    return [job(*arguments) for arguments in JOBS]


@pytest.mark.slow
def test_fits_in_threads_do_not_meet(one_after_the_other):
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # so that threads change over within ops
    try:
        with ThreadPoolExecutor(4) as pool:
            for _ in range(2):
                assert list(pool.map(job, *zip(*JOBS))) == one_after_the_other
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.slow
def test_fits_in_processes_do_not_meet(one_after_the_other):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(job, *zip(*JOBS))) == one_after_the_other
