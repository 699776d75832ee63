"""Who may send which message of this service, and the members of projects."""
