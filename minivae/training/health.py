"""Warnings about a training in which something is wrong without being an error: a dead code, or steps that have become slow."""

from __future__ import annotations

import statistics
import warnings
from typing import TYPE_CHECKING

from minivae.backend import blas_threads
from minivae.checks import DeadCodeWarning, SlowStepsWarning

if TYPE_CHECKING:
    from minivae.training.trainer import Trainer

# Settings that can make a code die: name, harmless value, and what to try instead of any other value.
SHUTTERS = (
    ("output_bias", "data", "output_bias = data"),
    ("code_activation", "identity", "code_activation = identity"),
    *((name, 0, f"a lower {name}") for name in ("beta", "sparsity", "contraction", "l1", "l2")),
)

WINDOW, SLOW = 50, 5.0  # the number of steps whose median is compared with the fastest step, and the ratio that calls for a warning


def warn_of_dead_code(trainer: Trainer) -> None:
    """Warn, at the end of a training, if no unit of the code varies with x."""
    active = trainer.history.get("active_units")
    if not active or active[trainer.best_epoch - 1]:  # of the epoch whose parameters are kept: the best or the last
        return
    settings = trainer.model.get_params()
    mends = [mend for name, harmless, mend in SHUTTERS if settings.get(name, harmless) != harmless]
    mends += [f"more epochs than {settings['epochs']}", f"another learning_rate than {settings['learning_rate']:g}"]
    warnings.warn(
        f"active_units: expected a code that varies with x, got 0 of {settings['latent_dim']} units: all examples are rebuilt as "
        f"much the same one; try {', '.join(mends[:-1])} or {mends[-1]}",
        DeadCodeWarning,
        stacklevel=3,
    )


class Pace:
    """Notices when steps take far longer than the fastest one did.

    On a busy machine the threads of a matrix product wait for one another: one that gets no core holds up all others, and a step
    of a millisecond takes ten.  A single thread has nothing to wait for.
    """

    def __init__(self) -> None:
        self.fastest, self.told = float("inf"), False
        self.last: list[float] = []

    def note(self, seconds: float) -> None:
        """Record the duration of a step, and warn once when the steps have become slow."""
        if self.told:
            return
        self.fastest = min(self.fastest, seconds)
        self.last.append(seconds)
        if len(self.last) < WINDOW:
            return
        typical = statistics.median(self.last)
        self.last.clear()
        if typical > SLOW * self.fastest:
            self.told = True
            if blas_threads() == 1:
                return
            warnings.warn(
                f"training: expected steps of about {1e3 * self.fastest:.2g} ms, as the fastest was, got {1e3 * typical:.2g} ms: "
                "on a busy machine the threads of BLAS wait for one another; start it with OPENBLAS_NUM_THREADS=1 (others: "
                "OMP_NUM_THREADS=1 or MKL_NUM_THREADS=1)",
                SlowStepsWarning,
                stacklevel=6,
            )
