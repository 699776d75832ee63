"""Servers that the user is signed in to, and the choice of one of them."""
