"""Passwords, tokens and sealed values: everything here keeps a secret from someone."""
