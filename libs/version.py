"""The version of the product: told by the command line, the probes, the agent, backups and documents."""

VERSION = "0.3.0.dev0"
