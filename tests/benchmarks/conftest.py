"""Fixtures of the tests of ``python -m benchmarks gpu``."""

from support.gpu_benchmark import here, short  # noqa: F401 - fixtures
