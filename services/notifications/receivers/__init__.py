"""Receivers of notifications: their settings, the events that they are notified of, and the requests to them."""
