"""Builds: queued, planned, run as jobs by runners, logged."""
