"""Messages about the forge that shows the results of a project's builds at their commits."""

from enum import StrEnum

from contracts.messages import Command, Message, Query
from contracts.projects.fields import Name, UrlOrPath


class ForgeKind(StrEnum):
    NONE = "none"  # results are not reported
    GITHUB = "github"
    GITLAB = "gitlab"
    GITEA = "gitea"  # Gitea and Forgejo


class ChangeForge(Command):
    """Change the forge that shows the results of a project's builds, and the secret with the token for it.

    The kind `none` also removes the URL and the secret. Errors: PROJECT_NOT_FOUND, PROJECT_FORGE_INVALID,
    SECRET_NAME_INVALID.
    """

    project_id: int
    kind: ForgeKind | None = None
    api_url: UrlOrPath | None = None  # like https://git.example.org/api/v4; blank: derived from the repository's URL
    secret: Name | None = None  # name of the project's secret that holds the token; required unless `kind` is `none`


class GetForge(Query):
    """Get the forge of a project, and with a `public_key` the token for it. Answer: Forge.

    Errors: PROJECT_NOT_FOUND, and REQUEST_INVALID for an invalid key.
    """

    project_id: int
    public_key: str = ""  # X25519 key in base64 for which the token is encrypted; empty: the answer has no token


class Forge(Message):
    kind: ForgeKind
    api_url: str  # empty: derived from the repository's URL
    repository: str
    alias: str  # alias of the project
    encrypted: str = ""  # the token, encrypted with HPKE, in base64; empty: not requested, or the secret is missing
