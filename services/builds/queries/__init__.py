"""Queries about builds, jobs and the queue."""
