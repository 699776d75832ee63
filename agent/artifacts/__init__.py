"""Artifacts and caches of jobs."""
