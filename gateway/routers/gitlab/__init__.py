"""Routers of GitLab's runner protocol."""
