"""Requests that become a message to a service, and the service's answer that becomes the response."""
