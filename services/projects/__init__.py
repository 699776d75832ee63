"""The projects service: projects, secrets, credentials, executors and webhooks."""
