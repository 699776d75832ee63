"""The command line `headrace`. Commands import what they need when they run, so that `--help` stays fast."""

from infra.cli.main import app, main

__all__ = ["app", "main"]
