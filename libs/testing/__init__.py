"""Test helpers for all services."""
