"""Parsing of HEADRACE_NATS_URL: one or several servers of a cluster and one login for all of them."""

from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, unquote, urlsplit

SCHEMES = ("nats", "tls")
DEFAULT_PORT = 4222


class InvalidNatsAddress(ValueError):
    """The URL is invalid. The message follows the name of the setting in a sentence, and never contains the login."""


@dataclass(frozen=True, slots=True)
class NatsAddress:
    """Servers as URLs without a login, and one login, which the client uses for every server, also discovered ones."""

    servers: tuple[str, ...]
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> "NatsAddress":
        """Parse `nats://user:password@a:4222,b:4222,...`.

        The first server must have a scheme, which also applies to servers without a scheme. A login that is given for
        any server applies to all. A login without a password is a token. Logins are percent-encoded (RFC 3986), a comma
        as `%2C`. Raises InvalidNatsAddress.
        """
        parts = [part.strip() for part in text.split(",") if part.strip()]
        scheme = parts[0].partition("://")[0] if parts else ""
        if scheme not in SCHEMES or "://" not in parts[0]:
            raise InvalidNatsAddress(
                f"must be a URL that starts with {' or '.join(f'{scheme}://' for scheme in SCHEMES)}"
            )
        urls = [_parse_server(part if "://" in part else f"{scheme}://{part}") for part in parts]
        if any(url.scheme != scheme for url in urls):
            raise InvalidNatsAddress(f"must list servers that all start with {scheme}://")
        logins = {(url.username, url.password) for url in urls if url.username is not None}
        if len(logins) > 1:
            raise InvalidNatsAddress("must have the same login for all servers")
        user, password = logins.pop() if logins else (None, None)
        servers = tuple(dict.fromkeys(f"{scheme}://{_format_host_port(url)}" for url in urls))
        if user is not None and password is None:
            return cls(servers, token=unquote(user))
        return cls(servers, user and unquote(user), None if password is None else unquote(password))

    @property
    def inbox_prefix(self) -> str:
        """Prefix of the login's own inboxes, which no other login may read. A token is never part of a subject."""
        return f"_INBOX.{self.user}" if self.user else "_INBOX"

    def with_login(self, server: str) -> str:
        """Return the URL of a server with the login."""
        login = quote(self.token, safe="") if self.token else ""
        if self.user is not None:
            login = f"{quote(self.user, safe='')}:{quote(self.password or '', safe='')}"
        return server.replace("://", f"://{login}@", 1) if login else server


def _parse_server(url: str) -> SplitResult:
    try:
        split = urlsplit(url)
        if split.hostname and (split.port is None or split.port > 0):
            return split
    except ValueError:  # its message may contain a part of the login
        pass
    raise InvalidNatsAddress(
        "must be comma-separated servers such as nats://user:password@host:4222; "
        "special characters in a login are percent-encoded (a comma is %2C)"
    )


def _format_host_port(url: SplitResult) -> str:
    host = url.hostname or ""
    return f"{f'[{host}]' if ':' in host else host}:{url.port or DEFAULT_PORT}"
