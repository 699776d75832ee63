"""Commands for what builds use: secrets, SSH keys, users, tokens, runners, webhooks."""
