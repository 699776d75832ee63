"""How git is told about an address: credentials and settings travel in the environment, never on a command line."""

import base64
import shlex
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

SSH_OPTIONS = "-o IdentitiesOnly=yes -o StrictHostKeyChecking=accept-new -o BatchMode=yes -o ConnectTimeout=10"
SETTINGS = {
    "safe.directory": "*",
    "advice.detachedHead": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "protocol.ext.allow": "never",
    "http.lowSpeedLimit": "100",
    "http.lowSpeedTime": "30",
}


def without_credentials(url: str) -> tuple[str, str]:
    """The address, and `user:password` if it carried them."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return url, ""
    login, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=host)), unquote(login)


def environment(url: str, ssh_key: Path | None, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables for a git command about this address; `more` are further git settings."""
    settings = {**SETTINGS, **(more or {})}
    bare, login = without_credentials(url)
    if login:
        encoded = base64.b64encode((login if ":" in login else f"{login}:").encode()).decode()
        parts = urlsplit(bare)
        settings[f"http.{parts.scheme}://{parts.netloc}/.extraHeader"] = f"Authorization: Basic {encoded}"
    variables = {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",  # whoever would be asked says nothing
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    for number, (key, value) in enumerate(settings.items()):
        variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    if ssh_key is not None:
        variables["GIT_SSH_COMMAND"] = f"ssh -i {shlex.quote(str(ssh_key))} {SSH_OPTIONS}"
    return variables


def upload_pack(url: str) -> list[str]:
    """The other side of a local fetch does not inherit our settings, and would refuse a repository of another user."""
    local = url.startswith(("/", "file://"))
    return ["--upload-pack=git -c safe.directory=* upload-pack"] if local else []
