"""Routers of Free Commit's API."""
