"""Benchmarks of the running product. They measure, but they assert nothing."""
