"""The version of Headrace, as shown by the CLI, health checks, agent, backups and documents."""

VERSION = "0.3.0.dev0"
