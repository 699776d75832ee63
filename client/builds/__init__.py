"""State, jobs and logs of builds, read while a build runs."""
