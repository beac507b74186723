"""What a result was computed with: versions, BLAS, processors, device.  Without them, figures cannot be compared."""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

from minivae.backend import blas_threads, probe_cuda
from minivae.checks import installing
from minivae.datasets.files import FOLDER_VARIABLE

PACKAGES = ("numpy", "rich", "matplotlib", "safetensors", "pooch", "threadpoolctl")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
SMALL = 4_000_000  # multiplications in the largest matrix product of a step


def versions() -> dict[str, str]:
    """Return name → version of Python, of this package and of its dependencies."""
    from minivae import __version__

    installed = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "minivae": __version__, **installed}


def source() -> str:
    """Return the folder of the running code, with a remark if it is an installed copy, which edits of a checkout do not change."""
    folder = Path(__file__).parents[1]
    copied = any(part in ("site-packages", "dist-packages") for part in folder.parts)
    return f"{folder}" + (" (an installed copy: edits of a checkout do not change it)" if copied else "")


def environment() -> dict[str, Any]:
    """Return everything that ``minivae info`` prints, by name."""
    available, reason = probe_cuda()
    return {
        **versions(),
        "source": source(),
        "platform": platform.platform(),
        "blas": _blas(),
        "blas_threads": blas_threads() or "unknown",
        "numba": _numba(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cuda": available,
        "cuda_reason": reason,
        "data_folder": _data_folder(),
    }


def _blas() -> str:
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()


def threads_for(model: Any, features: int) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which BLAS has one thread, if a step's matrices are small and the environment does not say how many.

    Of so short a product a second thread saves a tenth of the time at best, and where it gets no core the first one waits for it:
    beside another program the steps then took six to thirty times as long.  The command has its process to itself; ``fit``, which
    has not, leaves the number of threads as it is.
    """
    widths = (features, *model.hidden_dims, model.latent_dim)
    small = model.batch_size * max(n_in * n_out for n_in, n_out in itertools.pairwise(widths)) <= SMALL
    if not small or any(name in os.environ for name in THREAD_VARIABLES):
        return contextlib.nullcontext()
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="blas")


def _numba() -> str:
    try:
        return importlib.metadata.version("numba")
    except importlib.metadata.PackageNotFoundError:
        return f"not installed, it would make Adam faster: {installing('compiled')}"


def _data_folder() -> str:
    import pooch

    return os.environ.get(FOLDER_VARIABLE) or str(Path(pooch.os_cache("minivae")))
