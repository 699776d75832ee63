"""Which builds become a mail, and what it says."""

from datetime import UTC, datetime

from contracts.builds import BuildFinished, BuildStatus
from contracts.notifications import RequestNotification
from libs.deciding import Cause, Recorded
from services.notifications.policies import LONGEST_OUTPUT, on_build

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
failed = BuildFinished(
    build_id=17,
    executor_id="e",
    project_id=3,
    project_name="Acme site",
    status=BuildStatus.FAILED,
    exit_code=2000,
    exit_message="Custom deployment error",
    output="line 1\nline 2",
    queued_at=NOW,
    initiator_id=5,
)


def recorded(event: BuildFinished, version: int = 9) -> Recorded[BuildFinished]:
    return Recorded("build-17", version, 0, event, Cause("c", NOW))


def mail_of(event: BuildFinished) -> RequestNotification:
    (mail,) = on_build(recorded(event))
    assert isinstance(mail, RequestNotification)
    return mail


def test_who_started_a_build_that_failed_gets_a_mail() -> None:
    mail = mail_of(failed)
    assert (mail.kind, mail.user_id, mail.recipient) == ("build_failed", 5, None)
    assert mail.link == "/api/developer/builds/17"


def test_the_title_has_the_project_in_upper_case_and_the_number_of_the_build() -> None:
    assert mail_of(failed).title == "ACME SITE: build 17 failed"


def test_the_text_says_how_the_build_ended() -> None:
    ending = "Build 17 of Acme site ended with exit code 2000: Custom deployment error"
    assert mail_of(failed).text == f"{ending}\n\nline 1\nline 2"
    assert (
        mail_of(failed.but(output=None, exit_message=None)).text == "Build 17 of Acme site ended with exit code 2000."
    )


def test_of_a_long_output_the_end_is_shown() -> None:
    text = mail_of(failed.but(output="start" + "x" * LONGEST_OUTPUT + "end")).text
    assert "start" not in text
    assert text.endswith("xend")


def test_a_name_with_line_breaks_stays_one_line() -> None:
    assert mail_of(failed.but(project_name="Acme\r\nBcc: all")).title == "ACME BCC: ALL: build 17 failed"


def test_the_same_event_gives_the_same_mail() -> None:
    assert on_build(recorded(failed)) == on_build(recorded(failed))
    assert on_build(recorded(failed)) != on_build(recorded(failed, version=10))


def test_a_build_that_succeeded_gives_no_mail() -> None:
    assert on_build(recorded(failed.but(exit_code=0, status=BuildStatus.SUCCESS))) == []


def test_a_build_that_nobody_started_gives_no_mail() -> None:
    assert on_build(recorded(failed.but(initiator_id=0))) == []
