"""Bodies and responses of the routes of notifications: receivers, and requests to other servers."""
