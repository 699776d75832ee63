"""Owners of projects."""

from typing import Literal

from contracts.messages import Message, Query


class GetOwner(Query):
    """Get the user or company with this alias. Usernames and company aliases share one namespace. Answer: Owner."""

    alias: str


class Owner(Message):
    """A user or company that can own projects."""

    alias: str  # in its original case
    kind: Literal["user", "company"]
    id: int
