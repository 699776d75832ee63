"""Retention of the event log: streams that are removed from it, and what remains of them."""
