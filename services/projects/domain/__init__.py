"""The deciders of projects, secrets, credentials and executors."""
