"""Limits for the data of a project's builds. The limit for their number, `keep_number_build`, is not part of them."""

from contracts.messages import Command, Message


class RetentionLimits(Message):
    """Limits of a project for the data of its finished builds. 0: the limit in the server's settings."""

    keep_build_days: int = 0
    keep_log_days: int = 0
    keep_number_log: int = 0  # number of latest builds whose logs are kept
    keep_artifact_days: int = 0  # maximum number of days; artifacts with an earlier `expire_in` are removed earlier
    keep_number_artifact: int = 0  # number of latest builds whose artifacts are kept


class ChangeRetentionLimits(Command):
    """Change the limits for the data of a project's builds. None: unchanged; 0: the limit in the server's settings.

    Errors: PROJECT_NOT_FOUND, PROJECT_RETENTION_INVALID.
    """

    project_id: int
    keep_build_days: int | None = None
    keep_log_days: int | None = None
    keep_number_log: int | None = None
    keep_artifact_days: int | None = None
    keep_number_artifact: int | None = None
