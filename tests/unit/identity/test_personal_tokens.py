"""Personal API tokens in the commands to a user: validation, limits and revocation."""

from datetime import UTC, date, datetime
from functools import reduce

import pytest

from contracts.identity import (
    ApiTokenCreated,
    ApiTokenRevoked,
    RevokeApiToken,
    TokenScope,
    UserDeleted,
    UserDisabled,
    UserEmailChanged,
    UserEvent,
    UserPasswordChanged,
    UserRegistered,
    UserRolesChanged,
)
from libs.eventstore.decider import CommandMetadata, RecordedEvent
from services.identity.domain.api_token import MAX_TOKENS_PER_USER
from services.identity.domain.internal_commands import AddApiToken
from services.identity.domain.user import user_decider
from services.identity.projections import TokenRow, UserRow, apply_user_event
from tests.support.scenario import Scenario

AT = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)

registered = UserRegistered(user_id=7, user_uuid="u7", username="Ivan", sealed_password_hash="sealed", roles=())
record = AddApiToken(
    user_id=7,
    token_id=3,
    token_uuid="t3",
    token_hash="hash",
    name=" nightly build ",
    expires_at=None,
    scopes=(),
    today=date(2026, 11, 22),
)
created = ApiTokenCreated(user_id=7, token_id=3, token_uuid="t3", token_hash="hash", name="nightly build", scopes=())
revoked = ApiTokenRevoked(user_id=7, token_id=3)
password_changed = UserPasswordChanged(user_id=7, sealed_password_hash="sealed-2", epoch=1)
roles_changed = UserRolesChanged(user_id=7, roles=("ROLE_DEVELOPER",), epoch=1)
disabled = UserDisabled(user_id=7, epoch=1)

user = Scenario(user_decider).given(registered)


def test_the_name_of_a_token_is_trimmed() -> None:
    user.when(record).then(created)


def test_each_scope_is_recorded_once() -> None:
    twice = record.replace(scopes=(TokenScope.BUILD_READ, TokenScope.USER_READ, TokenScope.BUILD_READ))
    user.when(twice).then(created.replace(scopes=("BUILD_READ", "USER_READ")))


@pytest.mark.parametrize("name", [None, "", "  "])
def test_a_token_needs_a_name(name: str | None) -> None:
    user.when(record.replace(name=name)).then_refused("TOKEN_NAME_REQUIRED")


@pytest.mark.parametrize("name", ["a{", "}", "cost: 1 $"])
def test_a_token_name_with_reserved_characters_is_rejected(name: str) -> None:
    user.when(record.replace(name=name)).then_refused("TOKEN_NAME_INVALID")


def test_a_token_may_expire_today() -> None:
    user.when(record.replace(expires_at=record.today)).then(created.replace(expires_at="2026-11-22"))


def test_a_token_may_not_expire_in_the_past() -> None:
    user.when(record.replace(expires_at=date(2026, 11, 21))).then_refused("TOKEN_EXPIRES_AT_INVALID")


def test_the_number_of_tokens_per_user_is_limited() -> None:
    full = user.given(*(created.replace(token_id=number) for number in range(MAX_TOKENS_PER_USER)))
    full.when(record).then_refused("TOKEN_LIMIT")
    full.given(revoked).when(record).then(created)


def test_a_token_is_revoked_once() -> None:
    user.given(created).when(RevokeApiToken(user_id=7, token_id=3)).then(revoked)
    user.given(created, revoked).when(RevokeApiToken(user_id=7, token_id=3)).then_refused("TOKEN_NOT_FOUND")


def test_a_token_of_another_user_cannot_be_revoked() -> None:
    user.when(RevokeApiToken(user_id=7, token_id=3)).then_refused("TOKEN_NOT_FOUND")


@pytest.mark.parametrize("change", [password_changed, roles_changed, disabled])
def test_a_change_of_access_revokes_all_tokens(change: UserEvent) -> None:
    user.given(created, change).when(RevokeApiToken(user_id=7, token_id=3)).then_refused("TOKEN_NOT_FOUND")
    assert row_after(registered, created, change).tokens == ()


def test_a_deleted_user_gets_no_token() -> None:
    user.given(UserDeleted(user_id=7, username="Ivan")).when(record).then_refused("DEVELOPER_NOT_FOUND")


def row_after(*events: UserEvent) -> UserRow:
    return reduce(
        lambda row, event: apply_user_event(row, RecordedEvent("user-7", 1, 0, event, CommandMetadata("c1", AT))),
        events,
        UserRow(),
    )


def test_the_row_holds_the_tokens_that_are_not_revoked() -> None:
    row = row_after(
        registered,
        created.replace(token_id=2),
        created.replace(expires_at="2030-12-31"),
        UserEmailChanged(user_id=7, email=None),
        ApiTokenRevoked(user_id=7, token_id=2),
    )
    assert row.tokens == (
        TokenRow(
            id=3, uuid="t3", token_hash="hash", name="nightly build", expires_at="2030-12-31", scopes=(), created_at=AT
        ),
    )
