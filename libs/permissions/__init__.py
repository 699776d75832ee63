"""Who may do what in a project: one rule for all services."""
