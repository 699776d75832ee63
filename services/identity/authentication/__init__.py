"""Sign-in, login throttling, signing keys and API tokens."""
