"""Errors of the client, each with the exit status of the command line."""

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_REACHED = 3
EXIT_REFUSED = 4

REFUSED_STATUSES = (401, 403, 429)
UNAVAILABLE_STATUSES = (502, 503, 504)


class ClientError(Exception):
    """Base class of the client's errors. `exit_code` is the exit status of the command line."""

    exit_code = EXIT_FAILED


class UsageError(ClientError):
    exit_code = EXIT_USAGE


class ServerUnreachable(ClientError):
    """The server did not respond, or its URL is invalid."""

    exit_code = EXIT_NOT_REACHED


class SignedOut(ClientError):
    """There is no token for the server."""

    exit_code = EXIT_REFUSED


class ApiError(ClientError):
    """The server rejected a request, or its answer shows that the command is impossible.

    `status` is the HTTP status. `code` is a stable error code such as BUILD_NOT_FOUND, or `HTTP_<status>` without one.
    """

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.status = status
        self.code = code
        self.detail = detail
        if status in REFUSED_STATUSES:
            self.exit_code = EXIT_REFUSED
        elif status in UNAVAILABLE_STATUSES:
            self.exit_code = EXIT_NOT_REACHED
