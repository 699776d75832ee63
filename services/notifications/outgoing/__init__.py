"""Outgoing HTTP requests: their delivery, and the statuses of builds' commits at forges."""
