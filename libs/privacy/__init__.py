"""Names of users: looked up by id when they are shown, and removed from recorded events."""
