"""Start of the programs of jobs, and the cleanup of all their processes. Needs only the standard library."""
