"""Owners of projects."""

from typing import Literal

from contracts.messages import Message, Query


class GetOwner(Query):
    """Get the user with this name, or the company with this alias (case-insensitive). Answer: Owner.

    Errors: DEVELOPER_NOT_FOUND if there is neither.
    """

    alias: str


class Owner(Message):
    """A user or company that can own projects."""

    alias: str  # in its original case
    kind: Literal["user", "company"]
    id: int
