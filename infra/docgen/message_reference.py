"""docs/MESSAGES.md: every service with its streams, messages, reactions and duties, and who sends what to whom."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from contracts.heartbeat import Heartbeat
from contracts.history import GetCommandReply, GetHistory, GetState
from contracts.messages import Command, Message, Query
from infra.docgen.call_graph import RequestType, find_matched_events, find_sent_messages
from infra.docgen.declarations import ServiceDeclaration, event_types, first_line
from infra.docgen.field_types import describe_fields, sealed_fields

HEADER = """# Messages

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


def render(declared: Sequence[ServiceDeclaration], gateway_messages: Sequence[RequestType]) -> str:
    senders = _find_senders(declared, gateway_messages)
    parts = [HEADER, "## Who sends what to whom\n", _render_diagram(declared, gateway_messages)]
    parts += [_render_service(one, senders) for one in declared]
    parts += ["## every service\n", _render_common_queries()]
    return "\n".join(parts)


# ---- who sends what


def _find_senders(
    declared: Sequence[ServiceDeclaration], gateway_messages: Sequence[RequestType]
) -> dict[RequestType, list[str]]:
    senders: dict[RequestType, list[str]] = {message: ["gateway"] for message in gateway_messages}
    for one in declared:
        for message in find_sent_messages(*_service_functions(one)):
            senders.setdefault(message, []).append(one.name)
    return senders


def _service_functions(declared: ServiceDeclaration) -> list[Callable[..., object]]:
    service = declared.service
    found: list[Callable[..., object]] = [*service.enrichers.values(), *service.handlers.values()]
    found += [*service.policies.values(), *(worker.run for worker in service.workers)]
    found += [ticker.run for ticker in service.periodic_tasks]
    return [*found, service.on_start] if service.on_start else found


def find_undeclared_calls(declaration: ServiceDeclaration) -> Iterator[str]:
    """Where the calls of a service's declaration are not those of its code, in words."""
    sent = {
        message
        for message in find_sent_messages(*_service_functions(declaration))
        if message.service != declaration.name
    }
    for message in sorted(sent ^ set(declaration.service.outgoing), key=lambda call: call.wire_name):
        where = "sends, but does not declare" if message in sent else "declares, but does not send"
        app = f"services/{declaration.name}/app.py"
        yield f"{message.wire_name} is among what {declaration.name} {where}: see `outgoing` in {app}."


def _render_diagram(declared: Sequence[ServiceDeclaration], gateway_messages: Sequence[RequestType]) -> str:
    """Between services only; what happens inside one stands in its tables."""
    lines = ["```mermaid", "flowchart LR", '    gateway(["gateway"])']
    for one in declared:
        asked = [message for message in gateway_messages if message.service == one.name]
        if asked:
            lines.append(f"    gateway -->|{_count_label(asked)}| {one.name}")
    for one in declared:
        sent = find_sent_messages(*_service_functions(one))
        for other in (other for other in declared if other is not one):
            told = [message.wire_name for message in sent if message.service == other.name]
            heard = _followed_events(one, other)
            if told:
                lines.append(f'    {one.name} -->|"{"<br>".join(told)}"| {other.name}')
            if heard:
                lines.append(f'    {other.name} -. "{"<br>".join(heard)}" .-> {one.name}')
    lines += ["```", "", "Solid: requests (commands and queries). Dotted: events.", ""]
    return "\n".join(lines)


def _count_label(messages: Iterable[RequestType]) -> str:
    messages = list(messages)
    commands = sum(issubclass(message, Command) for message in messages)
    counted = ((commands, "command", "commands"), (len(messages) - commands, "query", "queries"))
    return ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counted if count)


def _followed_events(declaration: ServiceDeclaration, source: ServiceDeclaration) -> list[str]:
    """The events of the source that the service follows."""
    service = declaration.service
    functions: list[Callable[..., object]] = [service.policies[source.name]] if source.name in service.policies else []
    functions += [
        function
        for view in service.projections
        if view.source == source.name
        for function in (view.apply, view.row_key)
    ]
    events = [event for event in find_matched_events(*functions) if event.service == source.name]
    events += [event for worker in service.workers if worker.source == source.name for event in worker.events]
    return list(dict.fromkeys(event.wire_name for event in events))


# ---- one service


def _render_service(declared: ServiceDeclaration, senders: Mapping[RequestType, Sequence[str]]) -> str:
    parts = [f"## {declared.name}\n", _render_streams(declared)]
    for title, messages in (("Commands", declared.commands), ("Queries", declared.queries)):
        rows = [_message_row(declared, message, senders.get(message, ())) for message in messages]
        parts += [_render_table(title, ("name", "fields", "what becomes of it", "sent by", "meaning"), rows)]
    parts += [
        _render_events(declared),
        _render_reactions(declared),
        _render_projections(declared),
        _render_background_work(declared),
        _render_other_messages(declared),
    ]
    return "\n".join(part for part in parts if part)


def _render_common_queries() -> str:
    rows = [
        (f"`{one.subject_at('<service>')}`", describe_fields(one), "gateway", first_line(one))
        for one in (GetHistory, GetState, GetCommandReply, Heartbeat)
    ]
    return _render_table("Queries", ("subject", "fields", "sent by", "meaning"), rows)


def _render_streams(declared: ServiceDeclaration) -> str:
    rows = [
        (
            f"`{category.name}-<id>`",
            _join_names(category.decider.commands),
            _join_names(event_types(category)),
            f"`{type(category.initial_row).__name__}`, version {category.row_version}",
        )
        for category in declared.service.categories
    ]
    return _render_table("Streams", ("stream", "takes", "records", "row"), rows)


def _message_row(
    declared: ServiceDeclaration, message: type[Command] | type[Query], senders: Sequence[str]
) -> Sequence[str]:
    taken = declared.handled_by(message) or "answered by nobody"
    return (f"`{message.wire_name}`", describe_fields(message), taken, ", ".join(senders), first_line(message))


def _render_events(declared: ServiceDeclaration) -> str:
    rows = []
    for event in declared.events:
        category = declared.category_of(event)
        stream = f"{category.name}-<id>" if category else "<id>"
        secret = f"<br>*sealed: {', '.join(sealed_fields(event))}*" if sealed_fields(event) else ""
        subject = f"`evt.{declared.name}.{stream}.{event.wire_name}`"
        rows.append((subject, str(event.schema_version), describe_fields(event) + secret, first_line(event)))
    return _render_table("Events", ("subject", "version", "fields", "meaning"), rows)


def _render_reactions(declared: ServiceDeclaration) -> str:
    rows = []
    for source, policy in declared.service.policies.items():
        events = [event for event in find_matched_events(policy) if event.service == source]
        rows.append((source, _join_names(events), _join_names(find_sent_messages(policy)), first_line(policy)))
    return _render_table("Reactions", ("events of", "which", "lead to", "meaning"), rows)


def _render_projections(declared: ServiceDeclaration) -> str:
    rows = [
        (f"`{view.name}`", view.source, f"`{type(view.initial_row).__name__}`, version {view.version}")
        for view in declared.service.projections
    ]
    return _render_table("Views over the events of services", ("view", "follows", "row"), rows)


def _render_background_work(declared: ServiceDeclaration) -> str:
    service = declared.service
    workers = [
        (
            f"worker `{one.name}`",
            f"each {_join_names(one.events)} of {one.source}",
            _join_names(find_sent_messages(one.run)),
        )
        for one in service.workers
    ]
    tickers = [
        (f"ticker `{one.name}`", f"every {one.interval_seconds:g} s", _join_names(find_sent_messages(one.run)))
        for one in service.periodic_tasks
    ]
    return _render_table("Workers and tickers", ("duty", "when", "sends"), [*workers, *tickers])


def _render_other_messages(declared: ServiceDeclaration) -> str:
    rows = [(f"`{part.wire_name}`", describe_fields(part), first_line(part)) for part in declared.other_messages]
    return _render_table("Rows, answers and parts of messages", ("name", "fields", "meaning"), rows)


def _join_names(messages: Iterable[type[Message]]) -> str:
    return ", ".join(f"`{message.wire_name}`" for message in messages) or "–"


def _render_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [f"### {title}\n", _render_row(head), _render_row(["---"] * len(head)), *(_render_row(row) for row in rows)]
    return "\n".join(lines) + "\n"


def _render_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
