"""How git is told about an address: credentials and settings travel in the environment, never on a command line."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

SSH_OPTIONS = "-o IdentitiesOnly=yes -o StrictHostKeyChecking=accept-new -o BatchMode=yes -o ConnectTimeout=10"
# git asks it for this server only: a header would follow a redirection to any other
CREDENTIAL_HELPER = """!f() {
  test "$1" != get || printf 'username=%s\\npassword=%s\\n' "$HEADRACE_GIT_USERNAME" "$HEADRACE_GIT_PASSWORD"
}; f"""
PLACEHOLDER_PASSWORDS = ("", "x-oauth-basic")  # beside these the user name is a token
MAX_PLAIN_USERNAME_LENGTH = len("anonymous")  # a shorter one that stands alone is no token
GIT_SETTINGS = {
    "safe.directory": "*",
    "advice.detachedHead": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "protocol.ext.allow": "never",
    "http.lowSpeedLimit": "100",
    "http.lowSpeedTime": "30",
}


def is_local_url(url: str) -> bool:
    return url.startswith("/") or url.lower().startswith("file://")


def split_credentials(url: str) -> tuple[str, str]:
    """The address, and `user:password` if it carried them."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return url, ""
    login, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=host)), unquote(login)


def add_credentials(url: str, login: str | None) -> str:
    """The reverse of `without_credentials`."""
    parts = urlsplit(url)
    if not login or parts.scheme not in ("http", "https"):
        return url
    user, colon, password = login.partition(":")
    return urlunsplit(parts._replace(netloc=f"{quote(user, safe='')}{colon}{quote(password, safe='')}@{parts.netloc}"))


def extract_secrets(login: str) -> Iterator[str]:
    """What of `user:password` must show in no log; base64 is left to who masks it."""
    user, colon, password = login.partition(":")
    if colon:
        # percent-encoded as we do it, and as runners written in Go show it
        yield from dict.fromkeys((login, password, quote(password, safe=""), quote(password, safe="$&+,;=")))
    if password in PLACEHOLDER_PASSWORDS and len(user) > MAX_PLAIN_USERNAME_LENGTH:
        yield user


def build_environment(
    url: str, ssh_key: Path | None, extra_settings: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The variables for a git command about this address; `more` are further git settings."""
    settings = {**GIT_SETTINGS, **(extra_settings or {})}
    variables = {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",  # whoever would be asked says nothing
    }
    bare, login = split_credentials(url)
    if login:
        server = urlunsplit(urlsplit(bare)._replace(path="", query="", fragment=""))
        settings["credential.helper"] = ""  # those of this machine would be told, and may keep it
        settings[f"credential.{server}.helper"] = CREDENTIAL_HELPER
        user, _, password = login.partition(":")
        variables |= {"HEADRACE_GIT_USERNAME": user, "HEADRACE_GIT_PASSWORD": password}
    variables["GIT_CONFIG_COUNT"] = str(len(settings))
    for number, (key, value) in enumerate(settings.items()):
        variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    if ssh_key is not None:
        variables["GIT_SSH_COMMAND"] = f"ssh -i {shlex.quote(str(ssh_key))} {SSH_OPTIONS}"
    return variables


def upload_pack_args(url: str) -> list[str]:
    """The other side of a local fetch does not inherit our settings, and would refuse a repository of another user."""
    return ["--upload-pack=git -c safe.directory=* upload-pack"] if is_local_url(url) else []
