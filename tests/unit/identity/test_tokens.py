"""What may happen to personal API tokens, and what is kept of them."""

from datetime import UTC, date, datetime
from functools import reduce

import pytest

from contracts.identity import (
    ApiTokenCreated,
    ApiTokenRevoked,
    RecordApiToken,
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
from libs.deciding import Cause, Recorded
from libs.testing.scenario import Scenario
from services.identity.domain import TOKENS, user_decider
from services.identity.views import TokenRow, UserRow, describe

AT = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)

registered = UserRegistered(user_id=7, user_uuid="u7", username="Ivan", sealed_password_hash="sealed", roles=())
record = RecordApiToken(
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


def test_a_token_is_recorded_with_a_tidy_name() -> None:
    user.when(record).then(created)


def test_each_scope_is_recorded_once() -> None:
    twice = record.but(scopes=(TokenScope.BUILD_READ, TokenScope.USER_READ, TokenScope.BUILD_READ))
    user.when(twice).then(created.but(scopes=("BUILD_READ", "USER_READ")))


@pytest.mark.parametrize("name", [None, "", "  "])
def test_a_token_needs_a_name(name: str | None) -> None:
    user.when(record.but(name=name)).then_refused("TOKEN_NAME_REQUIRED")


@pytest.mark.parametrize("name", ["a{", "}", "cost: 1 $"])
def test_some_characters_are_in_no_name(name: str) -> None:
    user.when(record.but(name=name)).then_refused("TOKEN_NAME_INVALID")


def test_the_last_day_may_be_today() -> None:
    user.when(record.but(expires_at=record.today)).then(created.but(expires_at="2026-11-22"))


def test_the_last_day_is_not_over() -> None:
    user.when(record.but(expires_at=date(2026, 11, 21))).then_refused("TOKEN_EXPIRES_AT_INVALID")


def test_the_number_of_tokens_has_a_limit() -> None:
    full = user.given(*(created.but(token_id=number) for number in range(TOKENS)))
    full.when(record).then_refused("TOKEN_LIMIT")
    full.given(revoked).when(record).then(created)


def test_a_token_is_revoked_once() -> None:
    user.given(created).when(RevokeApiToken(user_id=7, token_id=3)).then(revoked)
    user.given(created, revoked).when(RevokeApiToken(user_id=7, token_id=3)).then_refused("TOKEN_NOT_FOUND")


def test_nobody_revokes_what_somebody_else_has() -> None:
    user.when(RevokeApiToken(user_id=7, token_id=3)).then_refused("TOKEN_NOT_FOUND")


@pytest.mark.parametrize("change", [password_changed, roles_changed, disabled])
def test_a_change_of_access_ends_all_tokens(change: UserEvent) -> None:
    user.given(created, change).when(RevokeApiToken(user_id=7, token_id=3)).then_refused("TOKEN_NOT_FOUND")
    assert row_after(registered, created, change).tokens == ()


def test_a_deleted_user_gets_no_token() -> None:
    user.given(UserDeleted(user_id=7, username="Ivan")).when(record).then_refused("DEVELOPER_NOT_FOUND")


def row_after(*events: UserEvent) -> UserRow:
    return reduce(lambda row, event: describe(row, Recorded("user-7", 1, 0, event, Cause("c1", AT))), events, UserRow())


def test_a_row_holds_the_tokens_that_are_left() -> None:
    row = row_after(
        registered,
        created.but(token_id=2),
        created.but(expires_at="2030-12-31"),
        UserEmailChanged(user_id=7, email=None),
        ApiTokenRevoked(user_id=7, token_id=2),
    )
    assert row.tokens == (
        TokenRow(
            id=3, uuid="t3", token_hash="hash", name="nightly build", expires_at="2030-12-31", scopes=(), created_at=AT
        ),
    )
