"""Secrets are masked in the texts of tests, also where a text was cut off within a secret."""

import pytest

from contracts.builds import CaseStatus, ReportedCase
from libs.security.masking import SecretMasker
from services.builds.reports.junit_parser import MAX_MESSAGE_LENGTH
from services.builds.reports.report_masking import BATCH_SIZE, mask_cases

SECRET = "wheel-of-7"
PLAIN = ReportedCase(status=CaseStatus.PASSED, name="test_total", class_name="tests.cart")


def mask(*cases: ReportedCase) -> list[ReportedCase]:
    return [case for batch in mask_cases(SecretMasker([SECRET]), cases) for case in batch]


@pytest.mark.parametrize("field", ["suite", "class_name", "name", "file", "message", "details"])
def test_every_text_is_masked(field: str) -> None:
    (masked,) = mask(PLAIN.replace(**{field: f"with {SECRET} in it, ä"}))
    assert getattr(masked, field) == "with ********** in it, ä"


def test_a_truncated_text_shows_no_beginning_of_a_secret() -> None:
    text = "x" * (MAX_MESSAGE_LENGTH - 5) + SECRET[:5]
    (masked,) = mask(PLAIN.replace(message=text))
    assert masked.message == "x" * (MAX_MESSAGE_LENGTH - 5)


def test_tests_without_secrets_are_unchanged() -> None:
    cases = [PLAIN.replace(name=f"test {number}") for number in range(2 * BATCH_SIZE + 1)]
    hidden = PLAIN.replace(name=SECRET)
    assert mask(*cases, hidden) == [*cases, hidden.replace(name="*" * len(SECRET))]
