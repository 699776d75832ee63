"""Checks of this repository's own rules: wording and layout. Run by `make check` as `python -m infra.checks`."""
