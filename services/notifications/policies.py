"""Policy: a build that failed or was killed requests a mail to the user who launched it."""

from collections.abc import Sequence
from uuid import UUID, uuid5

from contracts.builds import BuildFinished
from contracts.messages import Event
from libs.eventstore.decider import AnyCommand, RecordedEvent
from services.notifications.domain.internal_commands import RequestNotification

NOTIFICATION_NAMESPACE = UUID("0e3b7a6c-92b5-4a53-8d4f-2f0c1b0f8b52")
MAX_OUTPUT_LENGTH = 20_000  # characters; the end of the output shows the cause of the failure


def on_build_finished(recorded: RecordedEvent[Event]) -> Sequence[AnyCommand]:
    """Request a mail to the initiator of a build that failed or was killed. Without an initiator there is no mail."""
    match recorded.event:
        case BuildFinished(exit_code=code, initiator_id=user_id) as build if code != 0 and user_id:
            return [
                compose_mail(build, str(uuid5(NOTIFICATION_NAMESPACE, recorded.id)), user_id),
            ]
        case _:
            return []


def compose_mail(
    build: BuildFinished, notification_id: str, user_id: int, *, is_fix: bool = False
) -> RequestNotification:
    """Return the request of a mail about the result of a build. `is_fix`: a success after a failure of its ref."""
    name = collapse_whitespace(build.project_name)
    failed = build.exit_code != 0
    result = "failed" if failed else "succeeded again" if is_fix else "succeeded"
    return RequestNotification(
        notification_id=notification_id,
        kind="build_failed" if failed else "build_succeeded",
        user_id=user_id,
        title=f"{name.upper()}: build {build.build_id} {result}",
        text=compose_failure_text(build) if failed else f"Build {build.build_id} of {name} {result}.",
        link=f"/api/developer/builds/{build.build_id}",
        project_id=build.project_id,
    )


def compose_failure_text(build: BuildFinished) -> str:
    name, message = collapse_whitespace(build.project_name), build.exit_message
    result = f"Build {build.build_id} of {name} ended with exit code {build.exit_code}"
    result += f": {message}" if message else "."
    return f"{result}\n\n{build.output[-MAX_OUTPUT_LENGTH:]}" if build.output else result


def collapse_whitespace(text: str) -> str:
    """Return the text on one line: a line break in a mail subject would start another header."""
    return " ".join(text.split())
