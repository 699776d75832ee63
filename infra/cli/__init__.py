"""The command line `headrace`. Every command imports what it needs only when it runs, so that `--help` stays fast."""

from infra.cli.main import app, main

__all__ = ["app", "main"]
