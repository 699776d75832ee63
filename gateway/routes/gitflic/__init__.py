"""Routes of GitFlic's API."""
