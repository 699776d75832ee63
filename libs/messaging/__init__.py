"""NATS: requests, the outbox relay, subscriptions, pull consumers and streams."""
