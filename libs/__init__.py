"""Shared building blocks of the services: event store, messaging, projections, service host, security, telemetry."""
