"""Checks of this repository's own rules: wording, layout and links. `make check` runs them."""
