"""Benchmarks of minivae: ``python -m benchmarks`` lists them."""
