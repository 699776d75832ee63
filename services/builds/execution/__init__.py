"""Execution of jobs: scripts, attempts, leases, reports of runners, results."""
