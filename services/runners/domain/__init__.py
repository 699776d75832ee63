"""Deciders of runners and registration tokens."""
