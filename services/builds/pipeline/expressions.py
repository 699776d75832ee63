"""The expressions of `rules: if` and `variables`: a small grammar, read by precedence.

expression = value [operator value]
operator   = "==" | "!=" | "=~" | "!~" | "&&" | "||"     && binds tighter than ||, comparisons tightest
value      = $NAME | ${NAME} | "text" | 'text' | null | /pattern/flags | "(" expression ")"
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from services.builds.pipeline.patterns import PatternInvalid, compiled, is_pattern, matches

LONGEST = 10_000
DEEPEST = 50
TOKEN = re.compile(
    r"""\s*(?:
      (?P<operator>==|!=|=~|!~|&&|\|\|)
    | (?P<open>\() | (?P<close>\))
    | \$(?:(?P<name>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)\})
    | "(?P<double>(?:\\.|[^"\\])*)" | '(?P<single>(?:\\.|[^'\\])*)'
    | (?P<pattern>/(?:\\.|[^/\\\n])+/[a-z]*)
    | (?P<null>null)\b
    )""",
    re.VERBOSE | re.ASCII,
)
TIGHTNESS = {"||": 1, "&&": 2, "==": 3, "!=": 3, "=~": 3, "!~": 3}

Value = str | bool | None


class ExpressionInvalid(Exception):
    """The text says what is wrong, and at which character."""


@dataclass(frozen=True, slots=True)
class Literal:
    value: str | None


@dataclass(frozen=True, slots=True)
class Pattern:
    literal: str


@dataclass(frozen=True, slots=True)
class Variable:
    name: str


@dataclass(frozen=True, slots=True)
class Operation:
    operator: str
    left: "Expression"
    right: "Expression"


Expression = Literal | Pattern | Variable | Operation


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    at: int  # character, from 1


def holds(source: str, variables: Mapping[str, str]) -> bool:
    """Whether it is true with these variables. Raises ExpressionInvalid, also for a pattern that a variable brings."""
    try:
        return _truth(_value(parsed(source), variables))
    except PatternInvalid as error:
        raise ExpressionInvalid(str(error)) from error


@lru_cache(maxsize=1024)
def parsed(source: str) -> Expression:
    if len(source) > LONGEST:
        raise ExpressionInvalid(f"the expression is longer than {LONGEST} characters")
    return _Parser(source).whole()


class _Parser:
    def __init__(self, source: str) -> None:
        self._tokens = _tokens(source)
        self._place = 0

    def whole(self) -> Expression:
        result = self._expression(0, 0)
        if self._next.kind != "end":
            raise _unexpected(self._next)
        return result

    @property
    def _next(self) -> Token:
        return self._tokens[self._place]

    def _take(self) -> Token:
        self._place += 1
        return self._tokens[self._place - 1]

    def _expression(self, tightness: int, depth: int) -> Expression:
        left = self._operand(depth)
        while TIGHTNESS.get(self._next.text, 0) > tightness and self._next.kind == "operator":
            operator = self._take().text
            left = Operation(operator, left, self._expression(TIGHTNESS[operator], depth))
        return left

    def _operand(self, depth: int) -> Expression:
        token = self._take()
        match token.kind:
            case "name" | "braced":
                return Variable(token.text)
            case "double" | "single":
                return Literal(re.sub(r"\\(.)", r"\1", token.text))
            case "null":
                return Literal(None)
            case "pattern":
                _checked(token)
                return Pattern(token.text)
            case "open" if depth < DEEPEST:
                inner = self._expression(0, depth + 1)
                if self._next.kind != "close":
                    raise _unexpected(self._next)
                self._take()
                return inner
            case _:
                raise _unexpected(token)


def _tokens(source: str) -> list[Token]:
    tokens = []
    place, end = 0, len(source.rstrip())
    while place < end:
        found = TOKEN.match(source, place)
        if found is None or found.lastgroup is None:
            start = place + len(source[place:]) - len(source[place:].lstrip())
            raise ExpressionInvalid(f"`{source[start : start + 20]}` at character {start + 1} is not understood")
        kind = found.lastgroup
        tokens.append(Token(kind, found[kind], found.start(kind) + 1))
        place = found.end()
    return [*tokens, Token("end", "(end)", end + 1)]


def _unexpected(token: Token) -> ExpressionInvalid:
    return ExpressionInvalid(f"`{token.text}` at character {token.at} is not expected there")


def _checked(token: Token) -> None:
    try:
        compiled(token.text)
    except PatternInvalid as error:
        raise ExpressionInvalid(str(error)) from error


def _value(expression: Expression, variables: Mapping[str, str]) -> Value:
    match expression:
        case Literal(value=value):
            return value
        case Pattern(literal=literal):
            return literal
        case Variable(name=name):
            return variables.get(name)
        case Operation(operator="&&"):
            return _truth(_value(expression.left, variables)) and _truth(_value(expression.right, variables))
        case Operation(operator="||"):
            return _truth(_value(expression.left, variables)) or _truth(_value(expression.right, variables))
        case Operation(operator=operator):
            left, right = _value(expression.left, variables), _value(expression.right, variables)
            match operator:
                case "==":
                    return left == right
                case "!=":
                    return left != right
                case "=~":
                    return _found(left, right)
                case _:
                    return not _found(left, right)


def _found(left: Value, right: Value) -> bool:
    """A variable or a text may hold the pattern too; without slashes it is looked for as it stands."""
    if not isinstance(left, str) or not isinstance(right, str):
        return False
    return matches(right, left) if is_pattern(right) else right in left


def _truth(value: Value) -> bool:
    """A variable is true if it holds something."""
    return bool(value)
