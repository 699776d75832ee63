"""Generators of documents and configuration from the services' declarations, the contracts and the commands."""
