"""Starts the programs of jobs and ends all their processes. Imports only the standard library."""
