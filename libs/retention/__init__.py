"""Retention of events: removal of streams from the log, trimming of event streams, and sizes of stored data."""
