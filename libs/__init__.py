"""The machinery, each hard problem once."""
