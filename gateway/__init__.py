"""The HTTP face: routes, dialects, authentication, live streams."""
