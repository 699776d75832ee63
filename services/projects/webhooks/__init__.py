"""Received webhooks and their deliveries."""
