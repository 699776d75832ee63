"""Outgoing HTTP requests, which set the status of a build's commit at a forge."""
