"""Builds under kill -9: every process of a running stack dies at seeded moments, and the log must not show it."""
