"""Parser and evaluator of the expressions in `rules: if` and `only: variables`, by operator precedence.

expression = value [operator value]
operator   = "==" | "!=" | "=~" | "!~" | "&&" | "||"     && binds tighter than ||, comparisons tightest
value      = $NAME | ${NAME} | "text" | 'text' | null | /pattern/flags | "(" expression ")"
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from services.builds.pipeline.rules.patterns import PatternInvalid, compile_pattern, is_pattern, matches_pattern

MAX_EXPRESSION_LENGTH = 10_000
MAX_DEPTH = 50
TOKEN_PATTERN = re.compile(
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
PRECEDENCE = {"||": 1, "&&": 2, "==": 3, "!=": 3, "=~": 3, "!~": 3}

Value = str | bool | None


class ExpressionInvalid(Exception):
    """The expression is invalid. The message says why."""


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
    position: int  # number of the first character, from 1


def evaluate(source: str, variables: Mapping[str, str]) -> bool:
    """Return whether the expression is true. Raises ExpressionInvalid, also for an invalid pattern in a variable."""
    try:
        return _is_truthy(_evaluate(parse_expression(source), variables))
    except PatternInvalid as error:
        raise ExpressionInvalid(str(error)) from error


@lru_cache(maxsize=1024)
def parse_expression(source: str) -> Expression:
    """Return the syntax tree of an expression. Raises ExpressionInvalid."""
    if len(source) > MAX_EXPRESSION_LENGTH:
        raise ExpressionInvalid(f"the expression is longer than {MAX_EXPRESSION_LENGTH} characters")
    return _Parser(source).parse()


class _Parser:
    def __init__(self, source: str) -> None:
        self._tokens = _tokenize(source)
        self._index = 0

    def parse(self) -> Expression:
        result = self._expression(0, 0)
        if self._next.kind != "end":
            raise _unexpected(self._next)
        return result

    @property
    def _next(self) -> Token:
        return self._tokens[self._index]

    def _take(self) -> Token:
        self._index += 1
        return self._tokens[self._index - 1]

    def _expression(self, precedence: int, depth: int) -> Expression:
        left = self._operand(depth)
        while PRECEDENCE.get(self._next.text, 0) > precedence and self._next.kind == "operator":
            operator = self._take().text
            left = Operation(operator, left, self._expression(PRECEDENCE[operator], depth))
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
                _check_pattern(token)
                return Pattern(token.text)
            case "open" if depth < MAX_DEPTH:
                inner = self._expression(0, depth + 1)
                if self._next.kind != "close":
                    raise _unexpected(self._next)
                self._take()
                return inner
            case _:
                raise _unexpected(token)


def _tokenize(source: str) -> list[Token]:
    tokens = []
    offset, end = 0, len(source.rstrip())
    while offset < end:
        match = TOKEN_PATTERN.match(source, offset)
        if match is None or match.lastgroup is None:
            start = offset + len(source[offset:]) - len(source[offset:].lstrip())
            raise ExpressionInvalid(f"`{source[start : start + 20]}` at character {start + 1} is not understood")
        kind = match.lastgroup
        tokens.append(Token(kind, match[kind], match.start(kind) + 1))
        offset = match.end()
    return [*tokens, Token("end", "(end)", end + 1)]


def _unexpected(token: Token) -> ExpressionInvalid:
    return ExpressionInvalid(f"`{token.text}` at character {token.position} is not expected here")


def _check_pattern(token: Token) -> None:
    try:
        compile_pattern(token.text)
    except PatternInvalid as error:
        raise ExpressionInvalid(str(error)) from error


def _evaluate(expression: Expression, variables: Mapping[str, str]) -> Value:
    match expression:
        case Literal(value=value):
            return value
        case Pattern(literal=literal):
            return literal
        case Variable(name=name):
            return variables.get(name)
        case Operation(operator="&&"):
            return _is_truthy(_evaluate(expression.left, variables)) and _is_truthy(
                _evaluate(expression.right, variables)
            )
        case Operation(operator="||"):
            return _is_truthy(_evaluate(expression.left, variables)) or _is_truthy(
                _evaluate(expression.right, variables)
            )
        case Operation(operator=operator):
            left, right = _evaluate(expression.left, variables), _evaluate(expression.right, variables)
            match operator:
                case "==":
                    return left == right
                case "!=":
                    return left != right
                case "=~":
                    return _contains_match(left, right)
                case _:
                    return not _contains_match(left, right)


def _contains_match(left: Value, right: Value) -> bool:
    """Match against a pattern, which may come from a variable. A text without slashes is searched literally."""
    if not isinstance(left, str) or not isinstance(right, str):
        return False
    return matches_pattern(right, left) if is_pattern(right) else right in left


def _is_truthy(value: Value) -> bool:
    return bool(value)
