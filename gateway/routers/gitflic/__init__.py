"""Routers of GitFlic's API."""
