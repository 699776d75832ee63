"""Outgoing HTTP requests: their delivery, and those that set the status of a build's commit at a forge."""
