"""The gateway's own routing, request parsing and serialization."""
