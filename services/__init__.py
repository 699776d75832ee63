"""One package per service; they never import each other."""
