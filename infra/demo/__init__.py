"""`headrace demo`: a sample repository, a build over the HTTP API, and their display in a terminal."""
