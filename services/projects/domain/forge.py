"""Validation of the forge to which the results of a project's builds are reported."""

from urllib.parse import urlsplit

from contracts.projects import ChangeForge, ForgeKind, ProjectSettingsChanged
from libs.eventstore.decider import RequestRejected
from services.projects.domain.secret import validate_variable_name


def make_forge_change(command: ChangeForge) -> ProjectSettingsChanged:
    """Return the event that sets the forge. ForgeKind.NONE also removes the URL and the name of the secret.

    Raises RequestRejected if a setting is missing or not valid.
    """
    match command.kind:
        case None:
            raise RequestRejected("PROJECT_FORGE_INVALID")
        case ForgeKind.NONE:
            api_url = secret = ""
        case _:
            api_url = validate_api_url((command.api_url or "").strip())
            if not (command.secret or "").strip():
                raise RequestRejected("PROJECT_FORGE_INVALID", "The name of the secret with the token is required.")
            secret = validate_variable_name(command.secret)
    return ProjectSettingsChanged(
        project_id=command.project_id, forge_kind=command.kind, forge_api_url=api_url, forge_secret=secret
    )


def validate_api_url(url: str) -> str:
    """Return the URL without a slash at its end; empty: it is derived from the repository's URL."""
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid or "@" in parts.netloc or parts.query or parts.fragment or not url.isprintable() or " " in url:
        raise RequestRejected("PROJECT_FORGE_INVALID", "The URL must be like https://git.example.org/api/v4.")
    return url.rstrip("/")
