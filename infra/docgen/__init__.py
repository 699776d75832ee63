"""Generators of documents from the services' declarations, contracts and commands."""
