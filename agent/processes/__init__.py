"""Start of the programs of jobs, and the cleanup of all their processes. This package needs only the standard library."""
