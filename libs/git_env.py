"""The environment for git commands: settings, and credentials, which never appear on a command line."""

import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

SSH_OPTIONS = "-o IdentitiesOnly=yes -o StrictHostKeyChecking=accept-new -o BatchMode=yes -o ConnectTimeout=10"
# git calls the helper only for the server that it is configured for; a configured header would follow redirects to any
# server
CREDENTIAL_HELPER = """!f() {
  test "$1" != get || printf 'username=%s\\npassword=%s\\n' "$HEADRACE_GIT_USERNAME" "$HEADRACE_GIT_PASSWORD"
}; f"""
PLACEHOLDER_PASSWORDS = ("", "x-oauth-basic")  # with one of these as the password, the user name is a token
MAX_PLAIN_USERNAME_LENGTH = len("anonymous")  # a user name of at most this length is not a token
GIT_SETTINGS = {
    "safe.directory": "*",
    "core.hooksPath": os.devnull,
    "advice.detachedHead": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "protocol.ext.allow": "never",
    "http.lowSpeedLimit": "100",
    "http.lowSpeedTime": "30",
}

# makes git ignore the configuration of the machine and of its user: hooks, filters, credential helpers, aliases
WITHOUT_HOST_CONFIG = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_ATTR_NOSYSTEM": "1"}


def is_local_url(url: str) -> bool:
    return url.startswith("/") or url.lower().startswith("file://")


def split_credentials(url: str) -> tuple[str, str]:
    """Return the URL without credentials, and the decoded `user:password`, or an empty string if there are none.

    Only http(s) URLs are changed.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return url, ""
    login, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=host)), unquote(login)


def add_credentials(url: str, login: str | None) -> str:
    """Return the URL with `user:password` added, the reverse of `split_credentials`. Only http(s) URLs are changed."""
    parts = urlsplit(url)
    if not login or parts.scheme not in ("http", "https"):
        return url
    user, colon, password = login.partition(":")
    return urlunsplit(parts._replace(netloc=f"{quote(user, safe='')}{colon}{quote(password, safe='')}@{parts.netloc}"))


def extract_secrets(login: str) -> Iterator[str]:
    """Yield the secret parts of `user:password`, also percent-encoded. Base64 forms are left to the masker."""
    user, colon, password = login.partition(":")
    if colon:
        # percent-encoded as by Python and as by Go, in which other runners are written
        yield from dict.fromkeys((login, password, quote(password, safe=""), quote(password, safe="$&+,;=")))
    if password in PLACEHOLDER_PASSWORDS and len(user) > MAX_PLAIN_USERNAME_LENGTH:
        yield user


def build_environment(
    url: str, ssh_key: Path | None, extra_settings: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment variables of a git command for this URL. `extra_settings` are further git settings."""
    settings = {**GIT_SETTINGS, **(extra_settings or {})}
    variables = {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",  # git runs this program instead of a prompt
    }
    bare, login = split_credentials(url)
    if login:
        server = urlunsplit(urlsplit(bare)._replace(path="", query="", fragment=""))
        settings["credential.helper"] = ""  # disable the host's helpers, which might store the password
        settings[f"credential.{server}.helper"] = CREDENTIAL_HELPER
        user, _, password = login.partition(":")
        variables |= {"HEADRACE_GIT_USERNAME": user, "HEADRACE_GIT_PASSWORD": password}
    variables["GIT_CONFIG_COUNT"] = str(len(settings))
    for number, (key, value) in enumerate(settings.items()):
        variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    if ssh_key is not None:
        # -F none: a job may have changed the configuration in ~/.ssh
        variables["GIT_SSH_COMMAND"] = f"ssh -F none -i {shlex.quote(str(ssh_key))} {SSH_OPTIONS}"
    return variables


def upload_pack_args(url: str) -> list[str]:
    """Return options that let a fetch read a local repository of another user.

    git starts `upload-pack` for the local repository without the settings of `build_environment`.
    """
    return ["--upload-pack=git -c safe.directory=* upload-pack"] if is_local_url(url) else []
