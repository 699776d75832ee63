"""Mail rules of users: their settings, and the mails that they cause."""
