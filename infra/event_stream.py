"""`headrace admin events`: events from NATS in the terminal, one line per event, from any point in time."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError
from rich.console import Console
from rich.text import Text

from contracts.messages import Payload
from infra.local.process import OperatorError
from infra.service_catalog import PUBLIC_SERVICES, SERVICES
from libs.messaging.nats_connection import connect
from libs.messaging.stream_reader import StreamReader
from libs.settings import Settings, SettingsError

NATS_TIMEOUT_SECONDS = 5.0  # timeout of connecting, and of each fetch of stored events
RETRY_SECONDS = 2.0
MAX_VALUE_LENGTH = 40
MAX_SUMMARY_FIELDS = 5

SERVICE_COLORS = dict(zip(SERVICES, ("cyan", "magenta", "blue", "yellow", "bright_black"), strict=True))
SUCCESS_COLOR, FAILURE_COLOR = "green", "red"
FAILURE_SUFFIXES = ("Failed", "Lost", "Killed", "Offline", "GaveUp")
# Fields with one of these words in their name are not in the summary.
HIDDEN_FIELD_PARTS = ("hash", "sealed", "token", "uuid", "executor", "at", "ran")


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event from JetStream, which may be of a type that this release does not know."""

    service: str
    stream: str
    name: str
    at: datetime
    actor: str
    payload: Payload

    @classmethod
    def from_message(cls, message: Msg) -> "EventRecord":
        headers = message.headers or {}
        return cls(
            service=message.subject.split(".")[1],
            stream=headers["ce-subject"],
            name=headers["ce-type"],
            at=datetime.fromisoformat(headers["ce-time"]),
            actor=_parse_actor(headers["ce-actor"]),
            payload=json.loads(message.data),
        )

    def summary(self) -> str:
        """Return up to MAX_SUMMARY_FIELDS fields as `name=value`: texts first, then numbers.

        Left out: empty values, hidden fields, ciphertext, and the id of the object itself.
        """
        own_id = f"{self.stream.partition('-')[0]}_id"
        fields = [
            (name, value)
            for name, value in self.payload.items()
            if isinstance(value, str | int) and value not in ("", False) and name != own_id
            if not any(part in name.split("_") for part in HIDDEN_FIELD_PARTS) and not str(value).startswith("s1.")
        ]
        fields.sort(key=lambda field: isinstance(field[1], int))  # numbers last, because they are mostly ids
        return " ".join(
            name if value is True else f"{name}={_quote_shortened(str(value))}"
            for name, value in fields[:MAX_SUMMARY_FIELDS]
        )

    def to_text(self) -> Text:
        """Return one line for the terminal: time, service, stream, event, actor and summary."""
        return Text.assemble(
            (f"{self.at.astimezone():%H:%M:%S.%f}"[:-3], "dim"),
            " ",
            (f"{_truncate(self.service, 9):<10}", SERVICE_COLORS.get(self.service, "")),
            f"{_truncate(self.stream, 12):<13}",
            (f"{self.name:<16} ", f"bold {self._color()}"),
            (f"{_truncate(self.actor, 8):<9}", "dim"),
            self.summary(),
        )

    def _color(self) -> str:
        if self.name.endswith(FAILURE_SUFFIXES) or self.payload.get("exit_code"):
            return FAILURE_COLOR
        return SUCCESS_COLOR if self.name.endswith("Finished") else ""

    def to_json(self) -> str:
        fields = {"service": self.service, "stream": self.stream, "name": self.name, "at": self.at.isoformat()}
        return dump_json(fields | {"actor": self.actor, "data": self.payload})


def _parse_actor(header: str) -> str:
    """Return the name of a runner or the system, or `user <id>`: headers do not contain the names of users."""
    user_id, name = json.loads(header)
    return f"user {user_id}" if user_id else name


def escape_controls(text: str) -> str:
    """Escape control characters: names chosen by users must not control the terminal."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def dump_json(content: object, indent: int | None = None) -> str:
    """Return JSON in which control characters are escaped."""
    text = json.dumps(content, indent=indent, ensure_ascii=False)
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)


def _quote_shortened(text: str) -> str:
    return (
        json.dumps(_truncate(text, MAX_VALUE_LENGTH), ensure_ascii=False)
        if " " in text
        else _truncate(text, MAX_VALUE_LENGTH)
    )


def _truncate(text: str, length: int) -> str:
    text = escape_controls(text)
    return text if len(text) <= length else f"{text[: length - 1]}…"


class EventTail:
    """Reads one service's stream from a start time: first the stored events, then new ones."""

    def __init__(self, client: Client, service: str) -> None:
        self._client = client
        self._service = service
        self._last_sequence = 0
        self._stored_count = 0

    async def open(self, start: datetime | None) -> None:
        """Open the reader. `start`: time of the first event, or None for all events.

        Raises OperatorError if the stream does not exist.
        """
        try:
            newest = (await self._client.jetstream().stream_info(self._service)).state.last_seq
        except NotFoundError:
            raise OperatorError(f"The stream {self._service} does not exist. Run `headrace server migrate`.") from None
        self._reader = await StreamReader.open(self._client, self._service, since=start)
        self._stored_count = await self._reader.count_pending()
        if not self._stored_count:
            self._last_sequence = newest

    async def read_stored(self) -> AsyncIterator[EventRecord]:
        while self._stored_count > 0:
            messages = await self._reader.fetch(NATS_TIMEOUT_SECONDS)
            if not messages:
                raise TimeoutError
            for message in messages:
                self._stored_count -= 1
                yield self._to_record(message)

    async def read_new(self) -> AsyncIterator[EventRecord]:
        """Yield new events without end. After an outage of the server, continue after the last event, without a gap."""
        while True:
            try:
                for message in await self._reader.fetch():
                    yield self._to_record(message)
            except (NatsError, TimeoutError):
                await asyncio.sleep(RETRY_SECONDS)
                with suppress(NatsError, TimeoutError):
                    await self._reader.aclose()
                    self._reader = await StreamReader.open(self._client, self._service, after=self._last_sequence)

    def _to_record(self, message: Msg) -> EventRecord:
        self._last_sequence = message.metadata.sequence.stream
        return EventRecord.from_message(message)


async def merge_stored(tails: Sequence[EventTail]) -> AsyncIterator[EventRecord]:
    """Yield the stored events of all streams, merged by time. The order within a stream is kept."""
    sources = [tail.read_stored() for tail in tails]
    heads = {place: head async for place, head in _first_records(sources)}
    while heads:
        place = min(heads, key=lambda index: (heads[index].at, index))
        yield heads.pop(place)
        if following := await anext(sources[place], None):
            heads[place] = following


async def _first_records(sources: Sequence[AsyncIterator[EventRecord]]) -> AsyncIterator[tuple[int, EventRecord]]:
    for place, source in enumerate(sources):
        if first := await anext(source, None):
            yield place, first


def login_name(client: Client) -> str:
    return client.options["user"] or ""


async def fetch_events(client: Client, since: datetime | None) -> list[EventRecord]:
    return [event async for event in merge_stored(await open_tails(client, since))]


async def open_tails(client: Client, start: datetime | None) -> list[EventTail]:
    tails = [
        EventTail(client, service) for service in (PUBLIC_SERVICES if login_name(client) == "consumer" else SERVICES)
    ]
    for tail in tails:
        await tail.open(start)
    return tails


def follow_events(start: str, *, raw: bool = False) -> None:
    """Print events until Ctrl-C. `start`: a time, "start" or "now". `raw`: print one JSON object per event.

    Raises SettingsError for an invalid time or without a NATS URL, and OperatorError if NATS does not respond or a
    stream does not exist.
    """
    since = parse_time(start)
    settings = require_nats(Settings.from_environment(os.environ))
    console = Console(highlight=False)
    with suppress(KeyboardInterrupt):
        asyncio.run(_follow_events(settings, since, console, raw=raw))


def require_nats(settings: Settings) -> Settings:
    if not settings.nats_url:
        raise SettingsError(
            f"No stack runs on {settings.data}. Start one with `headrace server up`, select its folder with --data, "
            "or set HEADRACE_NATS_URL."
        )
    return settings


def parse_time(text: str, option: str = "--from") -> datetime | None:
    if text == "start":
        return None
    if text == "now":
        return datetime.now(UTC)
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise SettingsError(
            f"{option} must be a time such as 2026-01-31T12:00:00Z, `start` or `now`, not {text!r}."
        ) from None


async def connect_to_nats(settings: Settings, name: str) -> Client:
    logging.getLogger("headrace.messaging").setLevel(logging.ERROR)  # hides messages about connection attempts
    try:
        return await asyncio.wait_for(connect(settings, name), NATS_TIMEOUT_SECONDS)
    except (TimeoutError, OSError, NatsError) as error:
        raise OperatorError("NATS does not respond. Check the stack with `headrace server status`.") from error


async def _follow_events(settings: Settings, since: datetime | None, console: Console, *, raw: bool) -> None:
    client = await connect_to_nats(settings, "events")
    try:
        tails = await open_tails(client, since)
        async for event in merge_stored(tails):
            print_event(console, event, raw=raw)
        async with asyncio.TaskGroup() as group:
            for tail in tails:
                group.create_task(_print_new_events(console, tail, raw=raw))
    finally:
        await client.close()


async def _print_new_events(console: Console, tail: EventTail, *, raw: bool) -> None:
    async for event in tail.read_new():
        print_event(console, event, raw=raw)


def print_event(console: Console, event: EventRecord, *, raw: bool = False) -> None:
    if raw or not console.is_terminal:
        sys.stdout.write(f"{event.to_json() if raw else event.to_text().plain}\n")
        sys.stdout.flush()
    else:
        console.print(event.to_text(), no_wrap=True, overflow="ellipsis", crop=True)
