"""Python client of Headrace's HTTP API. These names are the public interface; the package `client` is internal."""

from client.errors import ApiError, ClientError, ServerUnreachable, SignedOut, UsageError
from client.http_client import Client

__all__ = ["ApiError", "Client", "ClientError", "ServerUnreachable", "SignedOut", "UsageError"]
