"""Commands for secrets, SSH keys, users, tokens, runners and webhooks."""
