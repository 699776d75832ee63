"""Checkouts of jobs, and the mirrors of repositories that they are created from."""
