"""Deciders of users and companies, and the rules for SSH keys, API tokens and links to OpenID accounts."""
