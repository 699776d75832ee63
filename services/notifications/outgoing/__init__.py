"""HTTP requests to servers of others: the status of a build's commit at the forge."""
