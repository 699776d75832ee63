"""Which events become a mail, and what it says."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid5

from contracts.builds import BuildFinished
from contracts.messages import Command
from contracts.notifications import RequestNotification
from libs.eventstore.decider import RecordedEvent

NOTIFICATION_NAMESPACE = UUID("0e3b7a6c-92b5-4a53-8d4f-2f0c1b0f8b52")
MAX_OUTPUT_LENGTH = 20_000  # characters; the end of an output says why it ended


def on_build_finished(recorded: RecordedEvent[Any]) -> Sequence[Command]:
    """Who started a build that failed gets a mail; a build that a stranger's push started has no initiator."""
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
                )
            ]
        case _:
            return []


def compose_failure_text(build: BuildFinished) -> str:
    name, message = collapse_whitespace(build.project_name), build.exit_message
    ending = f"Build {build.build_id} of {name} ended with exit code {build.exit_code}" + (
        f": {message}" if message else "."
    )
    return f"{ending}\n\n{build.output[-MAX_OUTPUT_LENGTH:]}" if build.output else ending


def collapse_whitespace(text: str) -> str:
    """A line break in the subject of a mail would start another header."""
    return " ".join(text.split())
