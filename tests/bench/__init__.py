"""Benchmarks of a running stack. They print measurements and check nothing."""
