"""Names for addresses, made of names for people."""

import re
import unicodedata

MAX_SLUG_LENGTH = 50
LATIN_LETTERS = "a b v g d e e zh z i y k l m n o p r s t u f kh ts ch sh shch  y  e yu ya"
TRANSLITERATION = str.maketrans(dict(zip("абвгдеёжзийклмнопрстуфхцчшщъыьэюя", LATIN_LETTERS.split(" "), strict=True)))


def make_slug(name: str, fallback: str) -> str:
    """A text of lower-case letters, digits, dots, dashes and underscores that resembles the name."""
    latin = unicodedata.normalize("NFC", name).lower().translate(TRANSLITERATION)
    plain = unicodedata.normalize("NFKD", latin).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9._]+", "-", plain).strip("-._")[:MAX_SLUG_LENGTH].rstrip("-._") or fallback


def find_free_slug(wanted: str, taken: set[str]) -> str:
    """The wanted name, or the first free one with a number."""
    candidates = (wanted, *(f"{wanted}-{number}" for number in range(2, len(taken) + 2)))
    return next(name for name in candidates if name not in taken)


def slug_family_regex(wanted: str) -> str:
    """Of the wanted name and those with a number."""
    return rf"^{re.escape(wanted)}(-[0-9]+)?$"
