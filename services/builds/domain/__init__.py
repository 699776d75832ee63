"""The rules of builds, jobs and lanes."""
