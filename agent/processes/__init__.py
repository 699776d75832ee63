"""Starts the programs of jobs and cleans up all their processes. Needs only the standard library."""
