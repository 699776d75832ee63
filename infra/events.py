"""`headrace events`: what happens in all services, in a terminal, one line per event, from any time on."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError
from rich.console import Console
from rich.text import Text

from contracts.messages import Payload
from infra.entry import PUBLIC, SERVICES
from infra.local.process import StackError
from libs.messaging import connect
from libs.settings import Settings, SettingsError

PATIENCE = 5.0  # seconds for the connection, and for what the stream already holds
BATCH = 200
LOOK_AGAIN = 2.0  # seconds without an event until we ask whether the server still knows us
SHOWN_LENGTH = 40
SHOWN_FACTS = 5

COLOURS = dict(zip(SERVICES, ("cyan", "magenta", "blue", "yellow", "bright_black"), strict=True))
GOOD, BAD = "green", "red"
BAD_ENDINGS = ("Failed", "Lost", "Killed", "Offline", "GaveUp")
UNTOLD = ("hash", "sealed", "token", "uuid", "executor", "at", "ran")  # parts of names whose values tell people nothing


@dataclass(frozen=True, slots=True)
class Happened:
    """An event as it stands in JetStream; also one that this version does not know."""

    service: str
    stream: str
    name: str
    at: datetime
    actor: str
    payload: Payload

    @classmethod
    def of(cls, message: Msg) -> "Happened":
        headers = message.headers or {}
        return cls(
            service=message.subject.split(".")[1],
            stream=headers["ce-subject"],
            name=headers["ce-type"],
            at=datetime.fromisoformat(headers["ce-time"]),
            actor=json.loads(headers["ce-actor"])[1],
            payload=json.loads(message.data),
        )

    def facts(self) -> str:
        """Its short fields, without what the line says anyway."""
        own = f"{self.stream.partition('-')[0]}_id"
        told = [
            (name, value)
            for name, value in self.payload.items()
            if isinstance(value, str | int) and value not in ("", False) and name != own
            if not any(part in name.split("_") for part in UNTOLD) and not str(value).startswith("s1.")
        ]
        told.sort(key=lambda fact: isinstance(fact[1], int))  # words first: numbers are mostly ids
        shown = (name if value is True else f"{name}={_shortened(str(value))}" for name, value in told[:SHOWN_FACTS])
        return " ".join(shown)

    def line(self) -> Text:
        """Narrow enough to leave room for some facts on 80 columns."""
        return Text.assemble(
            (f"{self.at.astimezone():%H:%M:%S.%f}"[:-3], "dim"),
            " ",
            (f"{_cut(self.service, 9):<10}", COLOURS.get(self.service, "")),
            f"{_cut(self.stream, 12):<13}",
            (f"{self.name:<16} ", f"bold {self._colour()}"),
            (f"{_cut(self.actor, 8):<9}", "dim"),
            self.facts(),
        )

    def _colour(self) -> str:
        if self.name.endswith(BAD_ENDINGS) or self.payload.get("exit_code"):
            return BAD
        return GOOD if self.name.endswith("Finished") else ""

    def raw(self) -> str:
        """One line of JSON."""
        fields = {"service": self.service, "stream": self.stream, "name": self.name, "at": self.at.isoformat()}
        return as_json(fields | {"actor": self.actor, "data": self.payload})


def harmless(text: str) -> str:
    """Strangers give names to what they send: nothing in them may move the cursor of who looks at it."""
    return "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text)


def as_json(content: object, indent: int | None = None) -> str:
    """JSON, of which a terminal only shows the characters."""
    text = json.dumps(content, indent=indent, ensure_ascii=False)
    return "".join(one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in text)


def _shortened(text: str) -> str:
    return json.dumps(_cut(text, SHOWN_LENGTH), ensure_ascii=False) if " " in text else _cut(text, SHOWN_LENGTH)


def _cut(text: str, length: int) -> str:
    text = harmless(text)
    return text if len(text) <= length else f"{text[: length - 1]}…"


# ---- reading


class Tail:
    """One service's stream from a point on: first what it already holds, then what comes."""

    def __init__(self, client: Client, service: str) -> None:
        self._js: JetStreamContext = client.jetstream()
        self._service = service
        self._after = 0
        self._held = 0

    async def open(self, start: datetime | None) -> None:
        """None: from the first event on."""
        try:
            newest = (await self._js.stream_info(self._service)).state.last_seq
        except NotFoundError:
            raise StackError(f"There is no stream {self._service} yet; run `headrace migrate`.") from None
        by_time = {"deliver_policy": DeliverPolicy.BY_START_TIME, "opt_start_time": start} if start else {}
        self._subscription = await self._subscribe(**by_time)
        self._held = (await self._subscription.consumer_info()).num_pending or 0
        if not self._held:
            self._after = newest

    async def held(self) -> AsyncIterator[Happened]:
        while self._held > 0:
            for message in await self._subscription.fetch(min(BATCH, self._held), timeout=PATIENCE):
                self._held -= 1
                yield self._taken(message)

    async def coming(self) -> AsyncIterator[Happened]:
        """Without a gap also when the server was away: then it goes on behind the last event."""
        while True:
            try:
                with suppress(TimeoutError):
                    [message] = await self._subscription.fetch(1, timeout=LOOK_AGAIN)
                    yield self._taken(message)
                    continue
                await self._subscription.consumer_info()
            except NatsError:
                await asyncio.sleep(LOOK_AGAIN)
                with suppress(NatsError):
                    self._subscription = await self._subscribe(opt_start_seq=self._after + 1)

    def _taken(self, message: Msg) -> Happened:
        self._after = message.metadata.sequence.stream
        return Happened.of(message)

    async def _subscribe(self, **start: Any) -> JetStreamContext.PullSubscription:
        if "opt_start_seq" in start:
            start["deliver_policy"] = DeliverPolicy.BY_START_SEQUENCE
        config = ConsumerConfig(ack_policy=AckPolicy.NONE, mem_storage=True, inactive_threshold=60, **start)
        return await self._js.pull_subscribe(f"evt.{self._service}.>", stream=self._service, config=config)


async def held(tails: Sequence[Tail]) -> AsyncIterator[Happened]:
    """What the streams hold, merged by time; within a stream its own order stays."""
    sources = [tail.held() for tail in tails]
    heads = {place: head async for place, head in _firsts(sources)}
    while heads:
        place = min(heads, key=lambda one: (heads[one].at, one))
        yield heads.pop(place)
        if following := await anext(sources[place], None):
            heads[place] = following


async def _firsts(sources: Sequence[AsyncIterator[Happened]]) -> AsyncIterator[tuple[int, Happened]]:
    for place, source in enumerate(sources):
        if first := await anext(source, None):
            yield place, first


def login_of(client: Client) -> str:
    return client.options["user"] or ""


async def happened(client: Client, since: datetime | None) -> list[Happened]:
    """Everything since then that the streams hold now."""
    return [one async for one in held(await tails_of(client, since))]


async def tails_of(client: Client, start: datetime | None) -> list[Tail]:
    tails = [Tail(client, service) for service in (PUBLIC if login_of(client) == "consumer" else SERVICES)]
    for tail in tails:
        await tail.open(start)
    return tails


# ---- the command


def follow(start: str, *, raw: bool = False) -> None:
    """Until Ctrl-C. `start` is a time, "start" or "now"; `raw` writes JSON lines for programs."""
    since = moment(start)
    settings = nats_of(Settings.from_environment(os.environ))
    console = Console(highlight=False)
    with suppress(KeyboardInterrupt):
        asyncio.run(_follow(settings, since, console, raw=raw))


def nats_of(settings: Settings) -> Settings:
    """The same settings, which say where NATS is."""
    if not settings.nats_url:
        raise SettingsError(
            f"No stack runs on {settings.data}; start one with `headrace up`, name its folder with --data, "
            "or set HEADRACE_NATS_URL."
        )
    return settings


def moment(start: str, option: str = "--from") -> datetime | None:
    if start == "start":
        return None
    if start == "now":
        return datetime.now(UTC)
    try:
        return datetime.fromisoformat(start).astimezone(UTC)
    except ValueError:
        raise SettingsError(
            f"{option} takes a time like 2026-01-31T12:00:00Z, `start` or `now`, not {start!r}."
        ) from None


async def connected(settings: Settings, name: str) -> Client:
    logging.getLogger("headrace.messaging").setLevel(logging.ERROR)  # a line per attempt is no news to a person
    try:
        return await asyncio.wait_for(connect(settings, name), PATIENCE)
    except (TimeoutError, OSError, NatsError) as error:
        raise StackError("NATS does not answer; is the stack up? See `headrace status`.") from error


async def _follow(settings: Settings, since: datetime | None, console: Console, *, raw: bool) -> None:
    client = await connected(settings, "events")
    try:
        tails = await tails_of(client, since)
        async for one in held(tails):
            show(console, one, raw=raw)
        async with asyncio.TaskGroup() as group:
            for tail in tails:
                group.create_task(_show_coming(console, tail, raw=raw))
    finally:
        await client.close()


async def _show_coming(console: Console, tail: Tail, *, raw: bool) -> None:
    async for one in tail.coming():
        show(console, one, raw=raw)


def show(console: Console, one: Happened, *, raw: bool = False) -> None:
    if raw or not console.is_terminal:
        sys.stdout.write(f"{one.raw() if raw else one.line().plain}\n")
        sys.stdout.flush()
    else:
        console.print(one.line(), no_wrap=True, overflow="ellipsis", crop=True)
