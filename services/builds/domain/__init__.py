"""Deciders of builds, jobs and concurrency groups: pure functions without I/O."""
