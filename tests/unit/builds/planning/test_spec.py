"""Errors in the content of a spec file, and the timeouts of its steps."""

import pytest

from services.builds.planning.spec import SpecInvalid, SpecUnreadable, parse_spec

STEP = "steps:\n  - name: '@build'\n"


def spec(timeout: str) -> bytes:
    return f"steps:\n  - name: '@build'\n    script: /b.sh\n    timeout: {timeout}\n".encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("steps: [}", "the spec file is not YAML: .* at line 1"),
        ("", "the spec file is empty"),
        ("from: debian\n", "the spec file has no steps"),
        (STEP, "step 1 has no script"),
        ("steps:\n  - script: /ci/build.sh\n", "step 1 has no name"),
        (f"{STEP}    script: /ci/build.sh\nimage: debian\n", "the spec file has the unknown key `image`"),
        (f"{STEP}    script: /ci/build.sh\n    run: x\n", "step 1 has the unknown key `run`"),
    ],
)
def test_invalid_content_is_rejected_with_its_place(content: str, message: str) -> None:
    with pytest.raises(SpecInvalid, match=message):
        parse_spec(content.encode())


def test_content_that_is_not_text_is_rejected() -> None:
    with pytest.raises(SpecUnreadable, match="not UTF-8 text"):
        parse_spec(b"steps: \xff\xfe")


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
