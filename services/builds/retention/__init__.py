"""Retention of builds: deletion of surplus and old builds, and removal of their logs and artifacts."""
