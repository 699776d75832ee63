"""Benchmarks of a running stack. They print measurements and assert nothing."""
