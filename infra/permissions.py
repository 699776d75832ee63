"""Who may use which subjects of NATS: derived from what the services declare, so that it stays true.

Two accounts, which see nothing of each other but what is exported. HEADRACE holds the streams and everybody who works
for them. EVENTS holds copies of the public streams for the login `consumer`: whatever is done with JetStream there,
such as a consumer that delivers to a subject of its choice, stays there.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from contracts.builds import JobQueued
from contracts.history import AskedEverywhere, GetHistory, GetState
from contracts.identity import RotateSigningKeys
from contracts.messages import Message
from contracts.runners import RunnerDeleted, RunnerEdited, RunnerShutDown
from libs.cloudevents import hint_subject
from libs.mirrors import ACCOUNT as EVENTS
from libs.service import Service
from libs.workers import consumer_name, hint_subjects

HEADRACE = "HEADRACE"
API = "$JS.API"
EVENTS_API = f"$JS.{EVENTS}.API"
NAMES = "names"  # what EVENTS makes of STREAM.NAMES: the originals are asked, since a copy has no subjects
HINTS_FOR_GATEWAY = (JobQueued, RunnerEdited, RunnerShutDown, RunnerDeleted)


@dataclass(frozen=True)
class Login:
    """One user of NATS. What is not allowed is forbidden; `never` is forbidden although a wildcard would allow it."""

    name: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    never: tuple[str, ...] = ()
    answers: bool = False  # may answer, once, whatever it was asked
    account: str = HEADRACE


def logins(services: Sequence[Service], from_gateway: Iterable[type[Message]]) -> list[Login]:
    """Everybody who connects, services first."""
    return [
        *(_service(one, services) for one in services),
        _gateway(services, from_gateway),
        _migrate(services),
        _consumer([one.name for one in services if one.public]),
    ]


def _service(service: Service, services: Sequence[Service]) -> Login:
    name = service.name
    followed = sorted({*service.policies, *(view.source for view in service.views)})
    heard = sorted({name, *followed, *(worker.source for worker in service.workers)})
    own = [(worker.source, consumer_name(name, worker)) for worker in service.workers]
    publish = [
        *(subject for call in service.calls for subject in _addresses(call, services)),
        f"evt.{name}.>",
        *(hint_subject(name, "*", event.wire_name) for event in service.hints),
        f"lead.{name}",
        "settled.*",
        f"{API}.STREAM.PURGE.{name}",
        *([f"{EVENTS_API}.STREAM.PURGE.{name}"] if service.public else []),
        *(f"{API}.STREAM.INFO.{stream}" for stream in heard),
        *(f"{API}.STREAM.MSG.GET.{stream}" for stream in sorted({name, *followed})),
        *(subject for stream in followed for subject in _following(stream)),
        *(f"{API}.CONSUMER.INFO.{stream}.{durable}" for stream, durable in own),
        *(f"{API}.CONSUMER.MSG.NEXT.{stream}.{durable}" for stream, durable in own),
        *(f"$JS.ACK.{stream}.{durable}.>" for stream, durable in own),
    ]
    hints = [subject for worker in service.workers if worker.prompt for subject in hint_subjects(worker)]
    subscribe = [_inbox(name), f"cmd.{name}.*", f"qry.{name}.*", f"lead.{name}", *hints]
    never = [subject for stream in followed for subject in _disturbing(stream, services, but=name)]
    return Login(name, tuple(publish), tuple(subscribe), tuple(never), answers=True)


def _gateway(services: Sequence[Service], sent: Iterable[type[Message]]) -> Login:
    public = [one.name for one in services if one.public]
    publish = [
        *(subject for call in sent for subject in _addresses(call, services)),
        "settled.*",
        *(f"{API}.STREAM.INFO.{stream}" for stream in public),
        *(subject for stream in public for subject in _following(stream)),
    ]
    hints = [hint_subject(event.service, "*", event.wire_name) for event in HINTS_FOR_GATEWAY]
    never = [subject for stream in public for subject in _disturbing(stream, services)]
    return Login("gateway", tuple(sorted(set(publish))), (_inbox("gateway"), *hints), tuple(never))


def _migrate(services: Sequence[Service]) -> Login:
    """The operator's: makes and removes streams and consumers, reads all of them, and runs what people type."""
    publish = [
        f"{API}.INFO",
        f"{API}.STREAM.NAMES",
        f"{API}.STREAM.LIST",
        *(f"{API}.STREAM.*.{one.name}" for one in services),
        *(f"{EVENTS_API}.STREAM.*.{one.name}" for one in services if one.public),
        *(f"{API}.STREAM.MSG.GET.{one.name}" for one in services),
        *(f"{API}.CONSUMER.*.{one.name}" for one in services),
        *(f"{API}.CONSUMER.*.{one.name}.>" for one in services),
        *(f"{API}.CONSUMER.DURABLE.CREATE.{one.name}.*" for one in services),
        *(f"{API}.CONSUMER.MSG.NEXT.{one.name}.*" for one in services),
        "settled.*",
        *(subject for call in (GetHistory, GetState, RotateSigningKeys) for subject in _addresses(call, services)),
    ]
    return Login("migrate", tuple(publish), (_inbox("migrate"),))


def _consumer(public: Sequence[str]) -> Login:
    """A stranger with a stock client: reads the public events live, and their copies from any point on.

    Its inboxes have the usual prefix, which only those with the same login share.
    """
    publish = [
        f"{API}.INFO",
        NAMES,
        *(f"{API}.STREAM.INFO.{stream}" for stream in public),
        *(f"{API}.STREAM.MSG.GET.{stream}" for stream in public),
        *(f"{API}.DIRECT.GET.{stream}" for stream in public),
        *(f"{API}.DIRECT.GET.{stream}.>" for stream in public),
        *(f"{API}.CONSUMER.CREATE.{stream}" for stream in public),
        *(
            f"{API}.CONSUMER.{verb}.{stream}.>"
            for stream in public
            for verb in ("CREATE", "INFO", "MSG.NEXT", "DELETE")
        ),
        *(f"$JS.ACK.{stream}.>" for stream in public),
        *(f"$JS.FC.{stream}.>" for stream in public),
    ]
    subscribe = ["_INBOX.>", *(f"evt.{stream}.>" for stream in public)]
    return Login("consumer", tuple(publish), tuple(subscribe), account=EVENTS)


def _inbox(name: str) -> str:
    """Where answers come: nobody else may listen there."""
    return f"_INBOX.{name}.>"


def _addresses(call: type[Message], services: Sequence[Service]) -> Iterator[str]:
    """The subjects to which a command or a query goes; none for what only describes others."""
    if issubclass(call, AskedEverywhere):
        yield from (call.subject_at(one.name) for one in services)
    elif any(call in _answered(one) for one in services):
        yield call.subject()  # type: ignore[attr-defined]


def _answered(service: Service) -> set[type[Message]]:
    return {*service.answers, *(one for category in service.categories for one in category.decider.commands)}


def _following(stream: str) -> Iterator[str]:
    """A consumer of one's own for a while, under a name that nobody can guess, over all events."""
    yield f"{API}.CONSUMER.CREATE.{stream}.*.evt.{stream}.>"
    yield f"{API}.CONSUMER.INFO.{stream}.*"
    yield f"{API}.CONSUMER.MSG.NEXT.{stream}.*"


def _disturbing(stream: str, services: Sequence[Service], but: str = "") -> Iterator[str]:
    """The durable consumers of a stream: nobody who follows it changes one, or takes events from another's."""
    for service in services:
        for worker in service.workers:
            if worker.source == stream:
                durable = consumer_name(service.name, worker)
                yield f"{API}.CONSUMER.CREATE.{stream}.{durable}.>"
                if service.name != but:
                    yield f"{API}.CONSUMER.MSG.NEXT.{stream}.{durable}"
