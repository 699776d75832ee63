"""Where the steps of a job run: a shell of this machine, or Docker containers."""
