"""Projects, their secrets, and the credentials and executors they use."""
