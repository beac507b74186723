"""Several processes that train one model, here as threads of this one: the shares of a batch add up to the batch.

``test_distributed`` starts real processes under mpiexec; here each step can be looked at.
"""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

import minivae as mv
from minivae.checks import NonFiniteError
from minivae.training.batches import Rows
from minivae.training.interruption import Latch
from minivae.training.mpi import Peers
from minivae.training.trainer import Trainer

X = np.random.default_rng(0).random((23, 7))
SMALL = {"latent_dim": 3, "hidden_dims": (5,), "epochs": 2, "batch_size": 10, "device": "cpu", "dtype": "float64"}


class Ring:
    """What MPI does for ``size`` processes, for as many threads: each waits until all have brought their numbers."""

    def __init__(self, size: int) -> None:
        self.size, self.brought = size, [np.zeros(0)] * size
        self.barrier = threading.Barrier(size, timeout=300)  # seconds: whoever is left waiting fails in the end

    def member(self, rank: int) -> SimpleNamespace:
        def add_up(in_place: object, buffer: np.ndarray) -> None:
            self.brought[rank] = buffer.copy()
            self.barrier.wait()
            total = sum(self.brought)
            self.barrier.wait()
            buffer[...] = total

        return SimpleNamespace(rank=rank, size=self.size, Allreduce=add_up)


def trainers(size: int, monkeypatch, **settings) -> list[Trainer]:
    """Return the trainers of as many members, each with a model of its own."""
    ring, made = Ring(size), []
    for rank in range(size):
        mpi = SimpleNamespace(COMM_WORLD=ring.member(rank), IN_PLACE=None, MAX=None)
        monkeypatch.setitem(sys.modules, "mpi4py", SimpleNamespace(MPI=mpi))
        trainer = Trainer(mv.VAE(**SMALL | settings).fit(X), Rows(X.copy(), np, "float64"))
        Peers(Latch()).on_start(trainer)
        made.append(trainer)
    return made


def together(made: list[Trainer], epochs: int) -> list[BaseException | None]:
    """Let all of them train at once; return how each ended."""
    with ThreadPoolExecutor(len(made)) as pool:
        return [future.exception() for future in [pool.submit(trainer.advance, epochs) for trainer in made]]


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_members_end_where_one_alone_ends(size, clip_norm, monkeypatch):
    """Batches of 10, 10 and 3 rows; in float64, only the order of the sums is another."""
    alone = Trainer(mv.VAE(**SMALL, clip_norm=clip_norm).fit(X), Rows(X, np, "float64"))
    alone.advance(2)
    members = trainers(size, monkeypatch, clip_norm=clip_norm)
    assert together(members, 2) == [None] * size
    for member in members:
        np.testing.assert_allclose(member.model.parameters_.values, alone.model.parameters_.values, rtol=1e-9, atol=1e-11)
        for name in ("train_reconstruction", "train_kl", "train_loss"):
            np.testing.assert_allclose(member.history[name], alone.history[name], rtol=1e-9)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_no_number_in_one_share_ends_all_at_the_same_step(monkeypatch):
    """A member that went on alone would wait for the others for ever."""
    members = trainers(2, monkeypatch)
    before = members[0].model.parameters_.values.copy()
    members[1].train.values[:] = np.nan
    ends = together(members, 1)
    assert [type(end) for end in ends] == [NonFiniteError] * 2
    for member in members:
        np.testing.assert_array_equal(member.model.parameters_.values, before)
