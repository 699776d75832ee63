"""Checks of this repository's own rules: wording, layout and links. Run by `make check` as `python -m infra.checks`."""
