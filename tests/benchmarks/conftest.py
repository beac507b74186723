"""Fixtures of the tests of ``python -m benchmarks``."""

from support.cpu_benchmark import benchmark, images  # noqa: F401 - fixtures
from support.gpu_benchmark import here, short  # noqa: F401 - fixtures
