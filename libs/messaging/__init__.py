"""NATS: connections, requests, hints, the outbox relay, and readers and mirrors of streams."""
