"""Artifacts of jobs and where their bytes are stored."""
