"""docs/MESSAGES.md: every service with its streams, messages, reactions and duties, and who sends what to whom."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from contracts.heartbeat import Heartbeat
from contracts.history import GetAnswer, GetHistory, GetState
from contracts.messages import Command, Message, Query
from infra.documents.declared import Declared, events_of, first_line
from infra.documents.fields import fields, sealed
from infra.documents.reading import Sent, known_to, sent_by

HEAD = """# Messages

Written by `make docs` from `contracts/` and the services' declarations; `make check` refuses it when it is out of date.

- A **command** is a wish, sent as a request to `cmd.<service>.<Command>`; a **query** is a question, sent to
  `qry.<service>.<Query>`. Any replica of the service answers; a reply with the header `Failure` carries an error, see
  [ERRORS.md](ERRORS.md).
- An **event** is a fact. The service's JetStream stream holds it under `evt.<service>.<stream>.<Event>` as a
  CloudEvent; [contracts/asyncapi.json](../contracts/asyncapi.json) has headers and JSON schemas, `contracts/golden/`
  a sample of each.
- In the tables `text?` may be null, `int[]` is a list, `= …` is the default. *Secret* fields show in no log and no
  event; *sealed* ones hold ciphertext for everybody but the service.
"""


def text(declared: Sequence[Declared], from_gateway: Sequence[Sent]) -> str:
    senders = _senders(declared, from_gateway)
    parts = [HEAD, "## Who sends what to whom\n", _picture(declared, from_gateway)]
    parts += [_service(one, senders) for one in declared]
    parts += ["## every service\n", _everywhere()]
    return "\n".join(parts)


# ---- who sends what


def _senders(declared: Sequence[Declared], from_gateway: Sequence[Sent]) -> dict[Sent, list[str]]:
    senders: dict[Sent, list[str]] = {message: ["gateway"] for message in from_gateway}
    for one in declared:
        for message in sent_by(*_functions(one)):
            senders.setdefault(message, []).append(one.name)
    return senders


def _functions(declared: Declared) -> list[Callable[..., object]]:
    service = declared.service
    found: list[Callable[..., object]] = [*service.prepare.values(), *service.answers.values()]
    found += [*service.policies.values(), *(worker.work for worker in service.workers)]
    found += [ticker.run for ticker in service.tickers]
    return [*found, service.started] if service.started else found


def undeclared(one: Declared) -> Iterator[str]:
    """Where the calls of a service's declaration are not those of its code, in words."""
    sent = {message for message in sent_by(*_functions(one)) if message.service != one.name}
    for message in sorted(sent ^ set(one.service.calls), key=lambda call: call.wire_name):
        where = "sends, but does not declare" if message in sent else "declares, but does not send"
        yield f"{message.wire_name} is among what {one.name} {where}: see `calls` in services/{one.name}/app.py."


def _picture(declared: Sequence[Declared], from_gateway: Sequence[Sent]) -> str:
    """Between services only; what happens inside one stands in its tables."""
    lines = ["```mermaid", "flowchart LR", '    gateway(["gateway"])']
    for one in declared:
        asked = [message for message in from_gateway if message.service == one.name]
        if asked:
            lines.append(f"    gateway -->|{_counted(asked)}| {one.name}")
    for one in declared:
        sent = sent_by(*_functions(one))
        for other in (other for other in declared if other is not one):
            told = [message.wire_name for message in sent if message.service == other.name]
            heard = _heard(one, other)
            if told:
                lines.append(f'    {one.name} -->|"{"<br>".join(told)}"| {other.name}')
            if heard:
                lines.append(f'    {other.name} -. "{"<br>".join(heard)}" .-> {one.name}')
    lines += ["```", "", "Solid: requests (commands and queries). Dotted: events.", ""]
    return "\n".join(lines)


def _counted(messages: Iterable[Sent]) -> str:
    messages = list(messages)
    commands = sum(issubclass(message, Command) for message in messages)
    counted = ((commands, "command", "commands"), (len(messages) - commands, "query", "queries"))
    return ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counted if count)


def _heard(one: Declared, source: Declared) -> list[str]:
    """The events of the source that the service follows."""
    service = one.service
    functions: list[Callable[..., object]] = [service.policies[source.name]] if source.name in service.policies else []
    functions += [
        function for view in service.views if view.source == source.name for function in (view.fold, view.key)
    ]
    events = [event for event in known_to(*functions) if event.service == source.name]
    events += [event for worker in service.workers if worker.source == source.name for event in worker.events]
    return list(dict.fromkeys(event.wire_name for event in events))


# ---- one service


def _service(declared: Declared, senders: Mapping[Sent, Sequence[str]]) -> str:
    parts = [f"## {declared.name}\n", _streams(declared)]
    for title, messages in (("Commands", declared.commands), ("Queries", declared.queries)):
        rows = [_taken(declared, message, senders.get(message, ())) for message in messages]
        parts += [_table(title, ("name", "fields", "what becomes of it", "sent by", "meaning"), rows)]
    parts += [_events(declared), _reactions(declared), _views(declared), _duties(declared), _parts(declared)]
    return "\n".join(part for part in parts if part)


def _everywhere() -> str:
    rows = [
        (f"`{one.subject_at('<service>')}`", fields(one), "gateway", first_line(one))
        for one in (GetHistory, GetState, GetAnswer, Heartbeat)
    ]
    return _table("Queries", ("subject", "fields", "sent by", "meaning"), rows)


def _streams(declared: Declared) -> str:
    rows = [
        (
            f"`{category.name}-<id>`",
            _names(category.decider.commands),
            _names(events_of(category)),
            f"`{type(category.row).__name__}`, version {category.row_version}",
        )
        for category in declared.service.categories
    ]
    return _table("Streams", ("stream", "takes", "records", "row"), rows)


def _taken(declared: Declared, message: type[Command] | type[Query], senders: Sequence[str]) -> Sequence[str]:
    taken = declared.taken_by(message) or "answered by nobody"
    return (f"`{message.wire_name}`", fields(message), taken, ", ".join(senders), first_line(message))


def _events(declared: Declared) -> str:
    rows = []
    for event in declared.events:
        category = declared.category_of(event)
        stream = f"{category.name}-<id>" if category else "<id>"
        secret = f"<br>*sealed: {', '.join(sealed(event))}*" if sealed(event) else ""
        subject = f"`evt.{declared.name}.{stream}.{event.wire_name}`"
        rows.append((subject, str(event.schema_version), fields(event) + secret, first_line(event)))
    return _table("Events", ("subject", "version", "fields", "meaning"), rows)


def _reactions(declared: Declared) -> str:
    rows = []
    for source, policy in declared.service.policies.items():
        events = [event for event in known_to(policy) if event.service == source]
        rows.append((source, _names(events), _names(sent_by(policy)), first_line(policy)))
    return _table("Reactions", ("events of", "which", "lead to", "meaning"), rows)


def _views(declared: Declared) -> str:
    rows = [
        (f"`{view.name}`", view.source, f"`{type(view.row).__name__}`, version {view.version}")
        for view in declared.service.views
    ]
    return _table("Views over the events of services", ("view", "follows", "row"), rows)


def _duties(declared: Declared) -> str:
    service = declared.service
    workers = [
        (f"worker `{one.name}`", f"each {_names(one.events)} of {one.source}", _names(sent_by(one.work)))
        for one in service.workers
    ]
    tickers = [(f"ticker `{one.name}`", f"every {one.every:g} s", _names(sent_by(one.run))) for one in service.tickers]
    return _table("Workers and tickers", ("duty", "when", "sends"), [*workers, *tickers])


def _parts(declared: Declared) -> str:
    rows = [(f"`{part.wire_name}`", fields(part), first_line(part)) for part in declared.parts]
    return _table("Rows, answers and parts of messages", ("name", "fields", "meaning"), rows)


def _names(messages: Iterable[type[Message]]) -> str:
    return ", ".join(f"`{message.wire_name}`" for message in messages) or "–"


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [f"### {title}\n", _row(head), _row(["---"] * len(head)), *(_row(row) for row in rows)]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
