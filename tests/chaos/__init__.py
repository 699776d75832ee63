"""Chaos tests: processes of a running stack are killed at seeded times while builds run."""
