"""Conversion of the claims of an OpenID account to the name, the e-mail address and the roles of a user."""

from collections.abc import Mapping
from typing import Any

from contracts.errors import RequestRejected
from contracts.identity import ROLES
from libs.settings import OidcSettings
from services.identity.domain.validation import validate_email, validate_username

ADMIN, DEVELOPER = ROLES
MAX_GROUPS = 10_000

Claims = Mapping[str, Any]


def has_wanted_claims(claims: Claims, settings: OidcSettings) -> bool:
    """Return whether the ID token has the claims that the settings need.

    Some providers send groups or names only from the userinfo endpoint.
    """
    names = [settings.username_claim] if settings.create_users else []
    names += [settings.groups_claim] if settings.admin_group or settings.developer_group else []
    return all(name in claims for name in names)


def read_groups(claims: Claims, settings: OidcSettings) -> frozenset[str]:
    """Return the groups of the account, at most MAX_GROUPS. No claim means no group, a text means a single group.

    Raises RequestRejected with OIDC_RESPONSE_INVALID if the provider sends a reference instead of many groups.
    """
    groups = claims.get(settings.groups_claim, [])
    sources = claims.get("_claim_names")  # distributed claims, OpenID Connect Core, section 5.6.2
    if isinstance(sources, dict) and settings.groups_claim in sources:
        raise RequestRejected("OIDC_RESPONSE_INVALID", "The account is in too many groups: the provider lists none.")
    names = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
    return frozenset(name for name in names[:MAX_GROUPS] if isinstance(name, str))


def roles_of(groups: frozenset[str], settings: OidcSettings, current: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the roles after a sign-in. `current`: the roles before the sign-in, None for a new user.

    A role for which a group is configured depends on that group only. Any other role does not change; a new user gets
    only ROLE_DEVELOPER of these.
    """
    kept = (DEVELOPER,) if current is None else current
    wanted = {ADMIN: settings.admin_group, DEVELOPER: settings.developer_group}
    return tuple(role for role in ROLES if (wanted[role] in groups if wanted[role] else role in kept))


def is_admitted(groups: frozenset[str], settings: OidcSettings) -> bool:
    """Return whether a group of the account may sign in. Without a configured developer group, all accounts may."""
    admitted = {settings.developer_group, settings.admin_group} - {""}
    return not settings.developer_group or bool(groups & admitted)


def read_username(claims: Claims, settings: OidcSettings) -> str:
    """Return the name of a new user. Raises RequestRejected with OIDC_USERNAME_INVALID."""
    name = claims.get(settings.username_claim)
    try:
        return validate_username(name.partition("@")[0] if isinstance(name, str) else None)
    except RequestRejected:
        raise RequestRejected("OIDC_USERNAME_INVALID") from None


def read_verified_email(claims: Claims) -> str | None:
    """Return the e-mail address, or None if it is missing, invalid or not verified.

    Mails are sent to it. It is not used to find the user of an account.
    """
    email = claims.get("email")
    if claims.get("email_verified") is not True or not isinstance(email, str):
        return None
    try:
        return validate_email(email)
    except RequestRejected:
        return None
