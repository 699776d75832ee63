"""What a service declares, and the host that runs it."""
