"""Policy: a failed build requests a mail to the user who started it."""

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
                RequestNotification(
                    notification_id=str(uuid5(NOTIFICATION_NAMESPACE, recorded.id)),
                    kind="build_failed",
                    user_id=user_id,
                    title=f"{collapse_whitespace(build.project_name).upper()}: build {build.build_id} failed",
                    text=compose_failure_text(build),
                    link=f"/api/developer/builds/{build.build_id}",
                    project_id=build.project_id,
                )
            ]
        case _:
            return []


def compose_failure_text(build: BuildFinished) -> str:
    name, message = collapse_whitespace(build.project_name), build.exit_message
    result = f"Build {build.build_id} of {name} ended with exit code {build.exit_code}"
    result += f": {message}" if message else "."
    return f"{result}\n\n{build.output[-MAX_OUTPUT_LENGTH:]}" if build.output else result


def collapse_whitespace(text: str) -> str:
    """Return the text on one line: a line break in a mail subject would start another header."""
    return " ".join(text.split())
