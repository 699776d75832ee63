"""Deciders of users, companies and SSH keys."""
