"""Settings from environment variables."""

from libs.settings.fields import PUBLIC, MailSecurity, Network, RepositoryNetwork
from libs.settings.sections import (
    ApiSettings,
    MailSettings,
    OidcSettings,
    RateLimitSettings,
    RetentionSettings,
    S3Settings,
)
from libs.settings.settings import SECRET_VARIABLES, Settings, SettingsError, resolve_secret_files, variables

__all__ = [
    "PUBLIC",
    "SECRET_VARIABLES",
    "ApiSettings",
    "MailSecurity",
    "MailSettings",
    "Network",
    "OidcSettings",
    "RateLimitSettings",
    "RepositoryNetwork",
    "RetentionSettings",
    "S3Settings",
    "Settings",
    "SettingsError",
    "resolve_secret_files",
    "variables",
]
