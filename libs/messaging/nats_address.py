"""The address of NATS in HEADRACE_NATS_URL: one or several servers of a cluster, and one login for all of them."""

from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, unquote, urlsplit

SCHEMES = ("nats", "tls")
DEFAULT_PORT = 4222


class InvalidNatsAddress(ValueError):
    """What is wrong with the address, to be read after its name. Never contains the login."""


@dataclass(frozen=True, slots=True)
class NatsAddress:
    """`servers` are URLs without a login: the client gives the login to every server, also to those it discovers."""

    servers: tuple[str, ...]
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> "NatsAddress":
        """`nats://user:password@a:4222,b:4222,...`; a login and a scheme hold for the servers that name none.

        Logins are percent-encoded (RFC 3986), a comma in them as `%2C`. Raises AddressError.
        """
        parts = [part.strip() for part in text.split(",") if part.strip()]
        scheme = parts[0].partition("://")[0] if parts else ""
        if scheme not in SCHEMES or "://" not in parts[0]:
            raise InvalidNatsAddress(
                f"must be an address that starts with {' or '.join(f'{one}://' for one in SCHEMES)}"
            )
        urls = [_parse_server(part if "://" in part else f"{scheme}://{part}") for part in parts]
        if any(url.scheme != scheme for url in urls):
            raise InvalidNatsAddress(f"must name servers that all start with {scheme}://")
        logins = {(url.username, url.password) for url in urls if url.username is not None}
        if len(logins) > 1:
            raise InvalidNatsAddress("must give all servers the same login")
        user, password = logins.pop() if logins else (None, None)
        servers = tuple(dict.fromkeys(f"{scheme}://{_format_host_port(url)}" for url in urls))
        if user is not None and password is None:
            return cls(servers, token=unquote(user))
        return cls(servers, user and unquote(user), None if password is None else unquote(password))

    @property
    def inbox_prefix(self) -> str:
        """Each login has inboxes of its own, which no other login may read. A token is a secret and in no subject."""
        return f"_INBOX.{self.user}" if self.user else "_INBOX"

    def with_login(self, server: str) -> str:
        """The URL of one of the servers, with the login."""
        login = quote(self.token, safe="") if self.token else ""
        if self.user is not None:
            login = f"{quote(self.user, safe='')}:{quote(self.password or '', safe='')}"
        return server.replace("://", f"://{login}@", 1) if login else server


def _parse_server(url: str) -> SplitResult:
    try:
        split = urlsplit(url)
        if split.hostname and (split.port is None or split.port > 0):
            return split
    except ValueError:  # its text may show a piece of the login
        pass
    raise InvalidNatsAddress(
        "must be servers like nats://user:password@host:4222, separated by commas; "
        "in a login, special characters are percent-encoded (a comma is %2C)"
    )


def _format_host_port(url: SplitResult) -> str:
    host = url.hostname or ""
    return f"{f'[{host}]' if ':' in host else host}:{url.port or DEFAULT_PORT}"
