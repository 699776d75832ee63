"""Benchmarks of the running product: figures, never assertions."""
