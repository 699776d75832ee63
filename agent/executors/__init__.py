"""Where the steps of a job run: in a shell on this machine or in Docker containers."""
