"""Builds that send an e-mail, and its text."""

from datetime import UTC, datetime

from contracts.builds import BuildFinished, BuildStatus
from libs.eventstore.decider import CommandMetadata, RecordedEvent
from services.notifications.domain.internal_commands import RequestNotification
from services.notifications.policies import MAX_OUTPUT_LENGTH, on_build_finished

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


def recorded(event: BuildFinished, version: int = 9) -> RecordedEvent[BuildFinished]:
    return RecordedEvent("build-17", version, 0, event, CommandMetadata("c", NOW))


def mail_of(event: BuildFinished) -> RequestNotification:
    (mail,) = on_build_finished(recorded(event))
    assert isinstance(mail, RequestNotification)
    return mail


def test_the_initiator_of_a_failed_build_gets_a_mail() -> None:
    mail = mail_of(failed)
    assert (mail.kind, mail.user_id, mail.recipient) == ("build_failed", 5, None)
    assert mail.link == "/api/developer/builds/17"


def test_the_email_title_has_the_upper_case_project_name_and_build_number() -> None:
    assert mail_of(failed).title == "ACME SITE: build 17 failed"


def test_the_email_text_says_how_the_build_ended() -> None:
    ending = "Build 17 of Acme site ended with exit code 2000: Custom deployment error"
    assert mail_of(failed).text == f"{ending}\n\nline 1\nline 2"
    assert (
        mail_of(failed.replace(output=None, exit_message=None)).text
        == "Build 17 of Acme site ended with exit code 2000."
    )


def test_the_email_shows_the_end_of_a_long_output() -> None:
    text = mail_of(failed.replace(output="start" + "x" * MAX_OUTPUT_LENGTH + "end")).text
    assert "start" not in text
    assert text.endswith("xend")


def test_line_breaks_in_a_project_name_are_removed_from_the_title() -> None:
    assert mail_of(failed.replace(project_name="Acme\r\nBcc: all")).title == "ACME BCC: ALL: build 17 failed"


def test_the_same_event_gives_the_same_email() -> None:
    assert on_build_finished(recorded(failed)) == on_build_finished(recorded(failed))
    assert on_build_finished(recorded(failed)) != on_build_finished(recorded(failed, version=10))


def test_a_successful_build_sends_no_email() -> None:
    assert on_build_finished(recorded(failed.replace(exit_code=0, status=BuildStatus.SUCCESS))) == []


def test_a_build_without_an_initiator_sends_no_email() -> None:
    assert on_build_finished(recorded(failed.replace(initiator_id=0))) == []
