"""Who may own projects."""

from typing import Literal

from contracts.messages import Message, Query


class GetOwner(Query):
    """Who may own projects under this alias: a user or a company; the two share one space of names."""

    alias: str


class Owner(Message):
    alias: str  # as it is written
    kind: Literal["user", "company"]
    id: int
