"""Step timeouts in the spec file. tests/e2e/shared_stack/test_failing_builds.py covers other errors in spec files."""

import pytest

from services.builds.planning.spec import SpecInvalid, parse_spec


def spec(timeout: str) -> bytes:
    return f"steps:\n  - name: '@build'\n    script: /b.sh\n    timeout: {timeout}\n".encode()


@pytest.mark.parametrize(
    ("written", "seconds"), [("90", 90), ("'90'", 90), ("10m", 600), ("1h 30 minutes", 5400), ("null", 0)]
)
def test_a_step_timeout_is_a_number_of_seconds_or_a_duration(written: str, seconds: int) -> None:
    (step,) = parse_spec(spec(written)).steps
    assert step.timeout_seconds == seconds


def test_a_huge_step_timeout_is_capped_at_one_year() -> None:
    (step,) = parse_spec(spec("999999999 years")).steps
    assert step.timeout_seconds == 365 * 24 * 3600


@pytest.mark.parametrize("written", ["0", "-1", "1.5", "true", "soon", "''", "[1]", "{a: 1}"])
def test_an_invalid_step_timeout_is_rejected_with_the_step_number(written: str) -> None:
    with pytest.raises(SpecInvalid, match="step 1: the timeout must be a number of seconds or a duration"):
        parse_spec(spec(written))
