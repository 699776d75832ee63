"""Backup and restore of all data that cannot be derived from the event logs, in one file, as of one point in time."""
