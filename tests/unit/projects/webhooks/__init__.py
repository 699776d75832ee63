"""Tests of webhooks: signatures, contents, and decisions about deliveries."""
