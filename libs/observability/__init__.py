"""Logs, traces, metrics and health checks of a process."""
