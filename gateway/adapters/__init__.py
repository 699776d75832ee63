"""Adapters to foreign APIs: how their requests are read and their responses written."""
