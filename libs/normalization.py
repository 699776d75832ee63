"""Normal forms of text and lists in the fields of commands."""

from collections.abc import Iterable


def blank_to_none(text: str | None) -> str | None:
    return (text or "").strip() or None


def sort_unique(ids: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(set(ids)))
