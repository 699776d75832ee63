"""Reaction policy: commands that follow from the events of this service."""

from collections.abc import Sequence

from contracts.builds import QueueBuild
from contracts.messages import Event
from contracts.projects import (
    DeliveryAccepted,
    DeliveryApproved,
    DeveloperProjectsSet,
    ProjectDeleted,
    ProjectSecretsSet,
)
from libs.eventstore.decider import AnyCommand, RecordedEvent
from services.projects.domain.internal_commands import AddDeveloper, AttachSecret, DetachSecret, RemoveDeveloper


def on_project_event(recorded: RecordedEvent[Event]) -> Sequence[AnyCommand]:
    """Return the commands that follow from an event of a project or a delivery.

    They apply selections of secrets and members, queue builds of deliveries, and detach the secrets of a deleted
    project.
    """
    match recorded.event:
        case ProjectSecretsSet(project_id=project_id, attached=attached, detached=detached):
            return [
                *(AttachSecret(secret_id=secret_id, project_id=project_id) for secret_id in attached),
                *(DetachSecret(secret_id=secret_id, project_id=project_id) for secret_id in detached),
            ]
        case DeveloperProjectsSet(developer_id=developer_id, joined=joined, left=left):
            return [
                *(AddDeveloper(project_id=project_id, developer_id=developer_id) for project_id in joined),
                *(RemoveDeveloper(project_id=project_id, developer_id=developer_id) for project_id in left),
            ]
        case DeliveryAccepted() as accepted:
            return [
                QueueBuild(
                    project_id=accepted.project_id,
                    ref=accepted.ref,
                    sha=accepted.sha,
                    before_sha=accepted.before_sha,
                    source="merge_request_event" if accepted.pull_request else "push",
                    delivery_id=accepted.delivery_id,
                    pull_request=accepted.pull_request,
                )
            ]
        case DeliveryApproved() as approved:
            return [
                QueueBuild(
                    project_id=approved.project_id,
                    ref=approved.ref,
                    sha=approved.sha,
                    source="merge_request_event",
                    delivery_id=approved.delivery_id,
                    pull_request=approved.pull_request,
                )
            ]
        case ProjectDeleted(project_id=project_id, secrets_id=secrets_id):
            return [DetachSecret(secret_id=secret_id, project_id=project_id) for secret_id in secrets_id]
        case _:
            return []
