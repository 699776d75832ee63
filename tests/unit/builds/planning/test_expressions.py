"""Conditions in `rules: if`."""

import time

import pytest

from services.builds.pipeline.rules.expressions import ExpressionInvalid, evaluate

VARIABLES = {"BRANCH": "main", "EMPTY": "", "PATTERN": "/^ma/", "QUOTE": 'say "hi"'}


@pytest.mark.parametrize(
    "expression",
    [
        '$BRANCH == "main"',
        "${BRANCH} == 'main'",
        '"main" == $BRANCH',
        '$BRANCH != "other"',
        "$BRANCH",
        "$BRANCH =~ /^ma/",
        "$BRANCH =~ /^MAIN$/i",
        "$BRANCH =~ $PATTERN",
        "$BRANCH !~ /x/",
        "$UNKNOWN == null",
        "$EMPTY != null",
        '$EMPTY == ""',
        '$UNKNOWN != ""',
        "$UNKNOWN !~ /x/",
        '$BRANCH == "other" || $BRANCH == "main"',
        '$BRANCH == "main" || $UNKNOWN && $UNKNOWN',
        '($BRANCH == "other" || $BRANCH) && $PATTERN',
        '  $BRANCH=="main"&&$PATTERN  ',
        r'"a/b" =~ /^a\/b$/',
        r'$QUOTE == "say \"hi\""',
        '$BRANCH == "main"\n  && $PATTERN',
    ],
)
def test_the_expression_is_true(expression: str) -> None:
    assert evaluate(expression, VARIABLES)


@pytest.mark.parametrize(
    "expression",
    [
        "$EMPTY",
        "$UNKNOWN",
        "null",
        '$UNKNOWN == ""',
        "$UNKNOWN =~ /.*/",
        '$BRANCH == "Main"',
        '($BRANCH == "main" || $BRANCH) && $UNKNOWN',
    ],
)
def test_the_expression_is_false(expression: str) -> None:
    assert not evaluate(expression, VARIABLES)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("$BRANCH ==", "`(end)` at character 11 is not expected here"),
        ('$BRANCH = "main"', '`= "main"` at character 9 is not understood'),
        ("$BRANCH == main", "`main` at character 12 is not understood"),
        ('($BRANCH == "main"', "`(end)` at character 19 is not expected here"),
        ("$BRANCH $BRANCH", "`BRANCH` at character 10 is not expected here"),
        ("", "`(end)` at character 1 is not expected here"),
        ("$BRANCH =~ /(/", "the pattern /(/ is not valid: missing ): ("),
        ("$BRANCH =~ /a/x", "the pattern /a/x has the unknown flag x"),
        ("(" * 60 + "$A" + ")" * 60, "`(` at character 51 is not expected here"),
    ],
)
def test_an_invalid_expression_is_reported_with_its_position(expression: str, words: str) -> None:
    with pytest.raises(ExpressionInvalid) as refused:
        evaluate(expression, VARIABLES)
    assert str(refused.value) == words


def test_an_invalid_pattern_in_a_variable_is_reported() -> None:
    with pytest.raises(ExpressionInvalid):
        evaluate("$BRANCH =~ $BAD", VARIABLES | {"BAD": "/(/"})


def test_regular_expressions_take_linear_time() -> None:
    began = time.monotonic()
    assert not evaluate("$LONG =~ /^(a+)+$/", {"LONG": "a" * 100_000 + "b"})
    assert time.monotonic() - began < 5
