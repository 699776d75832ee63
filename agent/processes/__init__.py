"""Start of the programs of jobs, and the cleanup of all their processes. Imports the standard library only."""
