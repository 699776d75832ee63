"""The builds service: queues, plans and dispatches builds, and stores their logs and artifacts."""
