"""Errors of the client, each with the exit status of the command line."""

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_REACHED = 3
EXIT_REFUSED = 4

REFUSED_STATUSES = (401, 403, 429)
UNAVAILABLE_STATUSES = (502, 503, 504)


class ClientError(Exception):
    """An error that the user can fix. The message says how."""

    exit_code = EXIT_FAILED


class UsageError(ClientError):
    exit_code = EXIT_USAGE


class ServerUnreachable(ClientError):
    """The server did not respond."""

    exit_code = EXIT_NOT_REACHED


class SignedOut(ClientError):
    """There is no token for the server."""

    exit_code = EXIT_REFUSED


class ApiError(ClientError):
    """The server rejected a request. `code` is a stable error code, like BUILD_NOT_FOUND."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.status = status
        self.code = code
        self.detail = detail
        if status in REFUSED_STATUSES:
            self.exit_code = EXIT_REFUSED
        elif status in UNAVAILABLE_STATUSES:
            self.exit_code = EXIT_NOT_REACHED
