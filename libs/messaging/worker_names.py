"""The names under which a worker's durable consumer is made by the migration step and found by its subscribers."""

from libs.messaging.cloudevents import hint_subject
from libs.service.declaration import Worker


def consumer_name(service: str, worker: Worker) -> str:
    return f"{service}-{worker.name}"


def filter_subjects(worker: Worker) -> list[str]:
    return [f"evt.{worker.source}.*.{event.wire_name}" for event in worker.events]


def hint_subjects(worker: Worker) -> list[str]:
    return [hint_subject(worker.source, "*", event.wire_name) for event in worker.events]
