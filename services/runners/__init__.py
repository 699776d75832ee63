"""Runners: who may execute jobs, and who of them is there."""
