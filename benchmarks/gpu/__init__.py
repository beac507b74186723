"""Benchmarks of the GPU."""
