"""Conditions that decide whether a job runs."""
