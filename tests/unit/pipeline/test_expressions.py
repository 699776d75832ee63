"""The expressions of `rules: if`."""

import time

import pytest

from services.builds.pipeline.expressions import ExpressionInvalid, holds

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
def test_it_holds(expression: str) -> None:
    assert holds(expression, VARIABLES)


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
def test_it_does_not_hold(expression: str) -> None:
    assert not holds(expression, VARIABLES)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("$BRANCH ==", "`(end)` at character 11 is not expected there"),
        ('$BRANCH = "main"', '`= "main"` at character 9 is not understood'),
        ("$BRANCH == main", "`main` at character 12 is not understood"),
        ('($BRANCH == "main"', "`(end)` at character 19 is not expected there"),
        ("$BRANCH $BRANCH", "`BRANCH` at character 10 is not expected there"),
        ("", "`(end)` at character 1 is not expected there"),
        ("$BRANCH =~ /(/", "the pattern /(/ is not valid: missing ): ("),
        ("$BRANCH =~ /a/x", "the pattern /a/x has the unknown flag x"),
        ("(" * 60 + "$A" + ")" * 60, "`(` at character 51 is not expected there"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(expression: str, words: str) -> None:
    with pytest.raises(ExpressionInvalid) as refused:
        holds(expression, VARIABLES)
    assert str(refused.value) == words


def test_a_pattern_that_a_variable_brings_may_be_wrong_too() -> None:
    with pytest.raises(ExpressionInvalid):
        holds("$BRANCH =~ $BAD", VARIABLES | {"BAD": "/(/"})


def test_no_pattern_takes_more_than_linear_time() -> None:
    began = time.monotonic()
    assert not holds("$LONG =~ /^(a+)+$/", {"LONG": "a" * 100_000 + "b"})
    assert time.monotonic() - began < 5
