"""What a result was computed with: versions, BLAS, processors, device.  Without them, figures cannot be compared."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

from minivae.backend import probe_cuda
from minivae.checks import installing
from minivae.datasets.files import FOLDER_VARIABLE

PACKAGES = ("numpy", "rich", "matplotlib", "safetensors", "pooch")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


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
        "blas_threads": blas_threads(),
        "numba": _numba(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cuda": available,
        "cuda_reason": reason,
        "data_folder": _data_folder(),
    }


def _blas() -> str:
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()


def blas_threads() -> str:
    """Return the number of threads of a matrix product, as far as threadpoolctl or the environment tells."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        found = [f"{name}={os.environ[name]}" for name in THREAD_VARIABLES if name in os.environ]
        return ", ".join(found) or "the library's default"
    counts = [f"{pool['num_threads']} ({pool['internal_api']})" for pool in threadpool_info() if pool["user_api"] == "blas"]
    return ", ".join(dict.fromkeys(counts)) or "unknown"


def _numba() -> str:
    try:
        return importlib.metadata.version("numba")
    except importlib.metadata.PackageNotFoundError:
        return f"not installed, it would make Adam faster: {installing('compiled')}"


def _data_folder() -> str:
    import pooch

    return os.environ.get(FOLDER_VARIABLE) or str(Path(pooch.os_cache("minivae")))
