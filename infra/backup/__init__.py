"""Backup and restore: all data that cannot be derived, as of one point in time, in one file."""
