"""State, jobs and logs of builds, also of running ones."""
