"""Programs of jobs, and the end of all their processes. Imports only the standard library."""
