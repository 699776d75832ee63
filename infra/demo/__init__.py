"""The demonstration: what `headrace demo` makes, does over the HTTP API and shows."""
