"""The HTTP gateway: routes, adapters to foreign APIs, authentication, event streams."""
