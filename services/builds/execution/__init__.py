"""Execution of jobs: leases, reports, results, retention."""
