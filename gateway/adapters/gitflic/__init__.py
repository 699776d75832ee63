"""GitFlic's API: what its clients send, and the shapes in which they read it back."""
