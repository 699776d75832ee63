"""`headrace server demo`: build a sample repository over the HTTP API, and show the build in the terminal."""
