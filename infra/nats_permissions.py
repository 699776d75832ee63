"""NATS logins and the subjects that each may use, derived from the services' declarations.

There are two accounts, which share only what they export. HEADRACE has the streams and all processes. EVENTS has
mirrors of the public streams, for the login `consumer`. A JetStream request of that login, such as for a consumer that
delivers to a chosen subject, has no effect outside EVENTS (docs/adr/0016).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from contracts.builds import BuildQueued, ConcurrencySlotGranted, JobQueued
from contracts.history import GetHistory, GetState, PerServiceQuery, ReadEventLog
from contracts.identity import RotateSigningKeys
from contracts.messages import Command, Message
from contracts.process_status import GATEWAY, GetProcessStatus
from contracts.runners import RunnerDeleted, RunnerEdited, RunnerPaused
from gateway.streaming import log_growth
from libs.messaging.cloudevents import hint_subject
from libs.messaging.stream_mirrors import MIRROR_ACCOUNT as EVENTS
from libs.service.declaration import Service

HEADRACE_ACCOUNT = "HEADRACE"
JS_API = "$JS.API"
EVENTS_JS_API = f"$JS.{EVENTS}.API"
# Clients look up streams by subject, and mirrors have no subjects. Therefore STREAM.NAMES requests in EVENTS are mapped
# to this subject, which HEADRACE answers.
STREAM_NAMES_SUBJECT = "names"
# hints between replicas of release 0.2.0, which run beside replicas of this release during an upgrade
FORMER_HINTS = {
    "builds": tuple(
        hint_subject(event.service, "*", event.wire_name)
        for event in (BuildQueued, ConcurrencySlotGranted, RunnerDeleted)
    )
}
GATEWAY_HINT_EVENTS = (JobQueued, RunnerEdited, RunnerPaused, RunnerDeleted)
LOG_GROWTH_SUBJECT = hint_subject("builds", "*", log_growth.HINT_NAME)  # gateways notify each other

GATEWAY_STATUS_SUBJECT = GetProcessStatus.subject_at(GATEWAY)


@dataclass(frozen=True)
class Login:
    """One NATS user. A subject is denied unless it is allowed. `deny` overrides wildcards in `publish`."""

    name: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    deny: tuple[str, ...] = ()
    allow_responses: bool = False  # may send one response to each request that it receives
    account: str = HEADRACE_ACCOUNT


def build_logins(services: Sequence[Service], gateway_messages: Iterable[type[Message]]) -> list[Login]:
    """Return all logins. The login of external programs is the last one."""
    return [
        *(_service_login(service, services) for service in services),
        _gateway_login(services, gateway_messages),
        _migrate_login(services),
        _consumer_login([service.name for service in services if service.is_public]),
    ]


def _service_login(service: Service, services: Sequence[Service]) -> Login:
    name = service.name
    projected = sorted({view.source for view in service.projections})
    followed = sorted(service.followed_sources)
    heard = sorted({name, *followed, *(worker.source for worker in service.workers)})
    own = [(worker.source, worker.consumer_name(name)) for worker in service.workers]
    publish = [
        *(
            subject
            for call in service.messages_to_send
            if call is not ReadEventLog
            for subject in _request_subjects(call, services)
        ),
        *(ReadEventLog.subject_at(stream) for stream in projected if stream != name),
        f"evt.{name}.>",
        *(hint_subject(name, "*", event.wire_name) for event in service.hinted_events),
        *(subject for subject in FORMER_HINTS.get(name, ()) if subject.startswith(f"hint.{name}.")),
        f"lead.{name}",
        "settled.*",
        f"{JS_API}.STREAM.PURGE.{name}",
        *([f"{EVENTS_JS_API}.STREAM.{verb}.{name}" for verb in ("INFO", "PURGE")] if service.is_public else []),
        f"{JS_API}.CONSUMER.LIST.{name}",
        *(f"{JS_API}.STREAM.INFO.{stream}" for stream in heard),
        *(f"{JS_API}.STREAM.MSG.GET.{stream}" for stream in sorted({name, *followed})),
        *(subject for stream in followed for subject in _ephemeral_consumer_subjects(stream)),
        *(f"{JS_API}.CONSUMER.INFO.{stream}.{durable}" for stream, durable in own),
        *(f"{JS_API}.CONSUMER.MSG.NEXT.{stream}.{durable}" for stream, durable in own),
        *(f"$JS.ACK.{stream}.{durable}.>" for stream, durable in own),
    ]
    subscribe = [_inbox_subject(name), f"cmd.{name}.*", f"qry.{name}.*", f"lead.{name}", *FORMER_HINTS.get(name, ())]
    never = [subject for stream in followed for subject in _durable_consumer_subjects(stream, services, owner=name)]
    return Login(name, tuple(publish), tuple(subscribe), tuple(never), allow_responses=True)


def _gateway_login(services: Sequence[Service], gateway_messages: Iterable[type[Message]]) -> Login:
    public = [service.name for service in services if service.is_public]
    publish = [
        *(subject for call in gateway_messages for subject in _request_subjects(call, services)),
        "settled.*",
        LOG_GROWTH_SUBJECT,
        GATEWAY_STATUS_SUBJECT,
        *(f"{JS_API}.STREAM.INFO.{stream}" for stream in public),
        *(subject for stream in public for subject in _ephemeral_consumer_subjects(stream)),
    ]
    hints = [hint_subject(event.service, "*", event.wire_name) for event in GATEWAY_HINT_EVENTS]
    subscribe = (_inbox_subject("gateway"), *hints, LOG_GROWTH_SUBJECT, GATEWAY_STATUS_SUBJECT)
    never = [subject for stream in public for subject in _durable_consumer_subjects(stream, services)]
    return Login("gateway", tuple(sorted(set(publish))), subscribe, tuple(never), allow_responses=True)


def _migrate_login(services: Sequence[Service]) -> Login:
    """Return the operator's login. It manages and reads all streams and consumers, and runs operator commands."""
    publish = [
        f"{JS_API}.INFO",
        f"{JS_API}.STREAM.NAMES",
        f"{JS_API}.STREAM.LIST",
        *(f"{JS_API}.STREAM.*.{service.name}" for service in services),
        *(f"{EVENTS_JS_API}.STREAM.*.{service.name}" for service in services if service.is_public),
        *(f"{JS_API}.STREAM.MSG.GET.{service.name}" for service in services),
        *(f"{JS_API}.CONSUMER.*.{service.name}" for service in services),
        *(f"{JS_API}.CONSUMER.*.{service.name}.>" for service in services),
        *(f"{JS_API}.CONSUMER.DURABLE.CREATE.{service.name}.*" for service in services),
        *(f"{JS_API}.CONSUMER.MSG.NEXT.{service.name}.*" for service in services),
        "settled.*",
        *(
            subject
            for call in (GetHistory, GetState, RotateSigningKeys)
            for subject in _request_subjects(call, services)
        ),
    ]
    return Login("migrate", tuple(publish), (_inbox_subject("migrate"),))


def _consumer_login(public: Sequence[str]) -> Login:
    """Return the login of external programs. It reads public events live, and their mirrors from any position.

    Its inboxes have NATS's default prefix, so that any client works. Users of this login can read each other's inboxes.
    """
    publish = [
        f"{JS_API}.INFO",
        STREAM_NAMES_SUBJECT,
        *(f"{JS_API}.STREAM.INFO.{stream}" for stream in public),
        *(f"{JS_API}.STREAM.MSG.GET.{stream}" for stream in public),
        *(f"{JS_API}.DIRECT.GET.{stream}" for stream in public),
        *(f"{JS_API}.DIRECT.GET.{stream}.>" for stream in public),
        *(f"{JS_API}.CONSUMER.CREATE.{stream}" for stream in public),
        *(
            f"{JS_API}.CONSUMER.{verb}.{stream}.>"
            for stream in public
            for verb in ("CREATE", "INFO", "MSG.NEXT", "DELETE")
        ),
        *(f"$JS.ACK.{stream}.>" for stream in public),
        *(f"$JS.FC.{stream}.>" for stream in public),
    ]
    subscribe = ["_INBOX.>", *(f"evt.{stream}.>" for stream in public)]
    return Login("consumer", tuple(publish), tuple(subscribe), account=EVENTS)


def _inbox_subject(name: str) -> str:
    """Return the subject pattern of replies to this login. No other login of its account may subscribe to it."""
    return f"_INBOX.{name}.>"


def _request_subjects(message_type: type[Message], services: Sequence[Service]) -> Iterator[str]:
    """Yield the subjects on which services accept a command or query. Yields nothing if no service handles it."""
    if issubclass(message_type, PerServiceQuery):
        yield from (message_type.subject_at(service.name) for service in services)
    elif any(message_type in service.messages for service in services):
        yield message_type.subject()  # type: ignore[attr-defined]
        if issubclass(message_type, Command) and message_type.former_subject:
            yield message_type.former_subject


def _ephemeral_consumer_subjects(stream: str) -> Iterator[str]:
    """Yield the subjects that create and read an ephemeral consumer of all events of a stream."""
    yield f"{JS_API}.CONSUMER.CREATE.{stream}.*.evt.{stream}.>"
    yield f"{JS_API}.CONSUMER.INFO.{stream}.*"
    yield f"{JS_API}.CONSUMER.MSG.NEXT.{stream}.*"


def _durable_consumer_subjects(stream: str, services: Sequence[Service], owner: str = "") -> Iterator[str]:
    """Yield the subjects that change a stream's durable consumers or fetch from one that `owner` does not own."""
    for service in services:
        for worker in service.workers:
            if worker.source == stream:
                durable = worker.consumer_name(service.name)
                yield f"{JS_API}.CONSUMER.CREATE.{stream}.{durable}.>"
                if service.name != owner:
                    yield f"{JS_API}.CONSUMER.MSG.NEXT.{stream}.{durable}"
