"""Filters and orders of clients, as MongoDB queries over the rows of a read model.

Filters follow SQL where clients can observe it: text is matched case-insensitively (but `sup`, `inf`, `supeq` and
`infeq` are case-sensitive), and NULL matches only `eq null`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from contracts.paging import Filter, FilteredPageRequest, Operator
from libs.documents import Document

Condition = Document
ValueParser = Callable[[str], Any]

MAX_PATTERN_LENGTH = 4096  # characters; MongoDB limits the length of patterns
MAX_LIKE_LENGTH = 2048  # characters; escaping makes a pattern up to six times as long
LIKE_TOKEN = re.compile(r"\\[%_]|.", re.DOTALL)
MAX_INTEGER = 2**63 - 1  # the largest 64-bit integer of BSON
NO_ROWS: Condition = {"_id": {"$in": []}}

COMPARISONS: Mapping[Operator, str] = {"sup": "$gt", "inf": "$lt", "supeq": "$gte", "infeq": "$lte"}
PATTERNS: Mapping[Operator, str] = {
    "eq": r"^{}\z",
    "ne": r"^{}\z",
    "contains": "{}",
    "necontains": "{}",
    "startwith": "^{}",
    "endwith": r"{}\z",
}
LIKE_OPERATORS: frozenset[Operator] = frozenset({"contains", "necontains"})
NEGATED_OPERATORS: frozenset[Operator] = frozenset({"ne", "necontains"})
JSON_OPERATORS: Mapping[Operator, Operator] = {"jsoncontains": "eq", "nejsoncontains": "ne"}
"""No column holds JSON documents. A single value is treated as a document that contains only itself."""
GEO_OPERATORS: frozenset[Operator] = frozenset({"distancesup", "distanceinf"})
"""No column has coordinates, so these operators match no rows."""


def parse_number(text: str) -> int | float:
    """Parse a number. Raises ValueError for other text and for numbers outside the database's range."""
    value = int(text) if text.strip().lstrip("+-").isdecimal() else float(text)
    if not abs(value) <= MAX_INTEGER:  # also false for "nan"
        raise ValueError(text)
    return value


def parse_datetime(text: str) -> datetime:
    """Parse an ISO 8601 time, in UTC if it has no zone. Raises ValueError, also outside the years 1 to 9999."""
    value = datetime.fromisoformat(text)
    try:
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError(text) from None


def like_to_regex(text: str) -> str:
    r"""Translate a SQL LIKE pattern: `%` is any text, `_` any character; `\%` and `\_` are literal."""
    parts = [""]
    for piece in LIKE_TOKEN.findall(text):
        if piece == "%":
            parts.append("")
        else:
            parts[-1] += "." if piece == "_" else re.escape(piece.removeprefix("\\") or piece)
    if len(parts) == 1:
        return parts[0]
    # atomic groups: the first match of each part suffices, and backtracking would take exponential time
    return r"\A" + "".join(f"(?>.*?{part})" for part in parts if part)


@dataclass(frozen=True, slots=True)
class Column:
    """A row field that clients may filter and sort by. `parse` converts a filter's text; None: the field is text."""

    field: str
    parse: ValueParser | None = None

    def to_condition(self, operator: Operator, value: str) -> Condition:
        """Return the condition for one value of a filter."""
        if value == "null" and operator in ("eq", "ne"):
            return {self.field: {"$eq" if operator == "eq" else "$ne": None}}
        if operator in GEO_OPERATORS:
            return NO_ROWS
        operator = JSON_OPERATORS.get(operator, operator)
        if operator in COMPARISONS:
            return self._compare(COMPARISONS[operator], value)
        if self.parse and operator in ("eq", "ne"):
            return self._compare(f"${operator}", value)
        escaped = (
            like_to_regex(value[:MAX_LIKE_LENGTH])
            if operator in LIKE_OPERATORS
            else re.escape(value[:MAX_PATTERN_LENGTH])
        )
        return self._match_pattern(
            PATTERNS[operator].format(escaped.replace("\0", r"\x00")), negated=operator in NEGATED_OPERATORS
        )

    def _match_pattern(self, pattern: str, *, negated: bool) -> Condition:
        if self.parse is None:
            regex = {"$regex": pattern, "$options": "is"}
            return {self.field: {"$not": regex, "$ne": None} if negated else regex}
        return {"$expr": partial(self._match_as_text, pattern, negated)}

    def _match_as_text(self, pattern: str, negated: bool, row: str) -> Condition:
        """Match a number or time by its text."""
        field = f"${row}.{self.field}"
        match = {"$regexMatch": {"input": {"$toString": field}, "regex": pattern, "options": "is"}}
        return {"$and": [{"$ne": [field, None]}, {"$not": [match]}]} if negated else match

    def _compare(self, comparison: str, value: str) -> Condition:
        try:
            parsed = self.parse(value) if self.parse else value
        except ValueError:
            return {self.field: {"$ne": None}} if comparison == "$ne" else NO_ROWS
        return {self.field: {"$nin": [parsed, None]} if comparison == "$ne" else {comparison: parsed}}


Columns = Mapping[str, Column]


def build_conditions(query: FilteredPageRequest, columns: Columns) -> list[Condition]:
    """Return one condition per filter. Filters on unknown columns are ignored."""
    return [build_condition(part, columns[part.column]) for part in query.filters if part.column in columns]


def build_condition(column_filter: Filter, column: Column) -> Condition:
    return {"$or": [column.to_condition(column_filter.operator, value) for value in column_filter.values] or [NO_ROWS]}


def combine_conditions(query: FilteredPageRequest, parts: list[Condition]) -> Condition:
    if not parts:
        return {}
    return {"$or" if query.any_filter else "$and": parts}


def match_all(*parts: Mapping[str, Any]) -> Condition:
    """Return the condition for rows that match all parts; an empty part matches every row."""
    given = [dict(part) for part in parts if part]
    return given[0] if len(given) == 1 else {"$and": given} if given else {}


def build_order(query: FilteredPageRequest, columns: Columns) -> list[tuple[str, int]]:
    """Return the sort order, with the id as tie-breaker, so that pages neither repeat nor skip rows.

    An unknown column sorts by id.
    """
    if query.sort_by == "NONE":
        return [("id", 1)]
    direction = -1 if query.descending else 1
    if query.sort_by not in columns or columns[query.sort_by].field == "id":
        return [("id", direction)]
    return [(columns[query.sort_by].field, direction), ("id", direction)]
