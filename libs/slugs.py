"""URL slugs from display names."""

import re
import unicodedata

MAX_SLUG_LENGTH = 50
LATIN_LETTERS = "a b v g d e e zh z i y k l m n o p r s t u f kh ts ch sh shch  y  e yu ya"
TRANSLITERATION = str.maketrans(dict(zip("абвгдеёжзийклмнопрстуфхцчшщъыьэюя", LATIN_LETTERS.split(" "), strict=True)))


def make_slug(name: str, fallback: str) -> str:
    """Return a slug of lower-case letters, digits, dots, dashes and underscores, or `fallback` if nothing is left.

    Cyrillic is transliterated; accents are removed.
    """
    latin = unicodedata.normalize("NFC", name).lower().translate(TRANSLITERATION)
    plain = unicodedata.normalize("NFKD", latin).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9._]+", "-", plain).strip("-._")[:MAX_SLUG_LENGTH].rstrip("-._") or fallback


def find_free_slug(slug: str, taken: set[str]) -> str:
    """Return the slug, or the first free one with a number appended."""
    candidates = (slug, *(f"{slug}-{number}" for number in range(2, len(taken) + 2)))
    return next(name for name in candidates if name not in taken)


def slug_family_regex(slug: str) -> str:
    """Return a pattern that matches the slug and its numbered variants."""
    return rf"^{re.escape(slug)}(-[0-9]+)?$"
