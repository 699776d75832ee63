"""Subscriptions to the events of a service: older events from its log, recent ones from its stream."""
