"""Tests of webhooks: their content, and what becomes of a delivery."""
