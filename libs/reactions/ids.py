"""Ids of commands that follow from an event or another command, so that a repetition has no further effect."""

from uuid import NAMESPACE_URL, uuid5


def derive_id(*parts: object) -> str:
    return str(uuid5(NAMESPACE_URL, "/".join(map(str, parts))))
