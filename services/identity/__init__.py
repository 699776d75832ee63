"""Users, what they may do, and logging in."""
