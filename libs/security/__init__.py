"""Passwords, tokens, encryption and masking of secrets."""
