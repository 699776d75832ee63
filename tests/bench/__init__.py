"""Benchmarks of the running product. They measure and assert nothing."""
