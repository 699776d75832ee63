"""The HTTP layer around the routes: client addresses, TLS certificate, path prefixes, forms, static files."""
