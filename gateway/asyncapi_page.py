"""The page at `/api/events/docs`: the AsyncAPI document as a self-contained HTML file."""

import json
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881}
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:76rem;padding:1rem;display:grid;grid-template-columns:11rem 1fr;gap:2rem}
nav{position:sticky;top:1rem;align-self:start}nav a{display:block;padding:.1rem 0;text-decoration:none}
h1{margin-top:0}h2{border-bottom:1px solid var(--line);margin:2rem 0 .3rem}h3{font-size:.9rem;margin:.8rem 0 .2rem}
details{border-bottom:1px solid var(--line)}summary{cursor:pointer;padding:.3rem 0}details[open]{background:var(--soft);padding:0 .6rem .6rem}
.GET{color:#0a7}.POST{color:#07c}.PATCH,.PUT{color:#a60}.DELETE{color:#c33}.method{display:inline-block;width:4.5rem;font-weight:600}
code,pre{font:.86em/1.45 ui-monospace,monospace}pre{background:var(--soft);padding:.5rem .7rem;overflow:auto;max-height:22rem;margin:.2rem 0}
table{border-collapse:collapse;width:100%}td{border-top:1px solid var(--line);padding:.15rem .6rem .15rem 0;vertical-align:top}
.quiet{opacity:.65}@media(max-width:50rem){body{display:block}nav{position:static;columns:3}}
"""
MORE_STYLE = """
body{grid-template-columns:15rem minmax(0,1fr)}nav{overflow:auto;max-height:calc(100vh - 2rem)}nav a{font-size:.9rem}
td:first-child{width:14rem}td:nth-child(2){width:5rem}
nav input{width:100%;box-sizing:border-box;margin-bottom:.5rem}nav details{border:0}nav details[open]{background:none;padding:0}
nav summary{font-weight:600}section[hidden],nav a[hidden]{display:none}h3 a{color:inherit;text-decoration:none}
section{border-bottom:1px solid var(--line);padding:.4rem 0}section:target{background:var(--soft);padding:.4rem .6rem}
h3{font-size:1.05rem;margin:.2rem 0}h4{font-size:.85rem;margin:.6rem 0 .1rem}p{margin:.3rem 0}
"""
SEARCH = """
const box = document.querySelector("input");
box.addEventListener("input", () => {
  const words = box.value.toLowerCase().split(/\\s+/);
  for (const one of document.querySelectorAll("section[id]")) {
    const text = one.textContent.toLowerCase();
    one.hidden = !words.every((word) => text.includes(word));
    document.querySelector(`nav a[href="#${one.id}"]`).hidden = one.hidden;
  }
});
"""
SUBJECTS = """evt.builds.>                   all that happens to builds and their jobs
evt.builds.build-17.*          all that happens to one build
evt.runners.*.RunnerOffline    one kind of event, of all runners"""
FIRST = ("builds", "runners")  # these services come first, because external programs may read their events
Json = Mapping[str, Any]


def event_page(document: Json) -> str:
    channels: dict[str, list[tuple[str, Json]]] = {service: [] for service in FIRST}
    for name, channel in document["channels"].items():
        service, _, event = name.partition(".")
        channels.setdefault(service, []).append((event, channel))
    links = "".join(
        f"<details open><summary>{escape(service)}</summary>"
        + "".join(f'<a href="#{service}.{event}">{event}</a>' for event, _ in those)
        + "</details>"
        for service, those in channels.items()
    )
    sections = "".join(
        f'<h2 id="{escape(service)}">Events of {escape(service)}</h2>'
        + "".join(_event(document, service, event, channel) for event, channel in those)
        for service, those in channels.items()
    )
    info = document["info"]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Headrace events</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}{MORE_STYLE}</style>'
        '<nav><input type="search" placeholder="event, field, word" aria-label="Search">'
        f'<a href="#connect">Connect</a><a href="#headers">Headers</a>{links}'
        '<a href="/api/asyncapi.json">asyncapi.json</a><a href="/api/docs">HTTP API</a></nav>'
        f"<main><h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{_words(info['description'])}</p>"
        f"{_connect(document)}{_headers(document)}{sections}</main><script>{SEARCH}</script></html>"
    )


def _connect(document: Json) -> str:
    server = document["servers"]["nats"]
    login = document["components"]["securitySchemes"]["login"]["description"]
    streams = [one["name"] for one in document["info"]["tags"]]
    return (
        f'<h2 id="connect">Connect</h2><p>{_words(server["description"])} {_words(login)}</p>'
        f"<p>Streams: {', '.join(f'<code>{escape(one)}</code>' for one in streams)}. Subjects:</p>"
        f"<pre>{escape(SUBJECTS)}</pre>"
    )


def _headers(document: Json) -> str:
    headers = document["components"]["schemas"]["CloudEventHeaders"]
    required = headers["required"]
    rows = (
        (
            f"`{name}`",
            "always" if name in required else "",
            str(one.get("const", one.get("format", ""))),
            one.get("description", ""),
        )
        for name, one in headers["properties"].items()
    )
    return f'<h2 id="headers">Headers of every event</h2>{_table(rows)}'


def _event(document: Json, service: str, event: str, channel: Json) -> str:
    message = document["components"]["messages"][event]
    schema = _resolved(document, message["payload"])
    examples = [one["payload"] for one in message.get("examples", ())]
    facts = [channel["description"], message.get("description", "")]
    fields = list(_fields(document, schema))
    return (
        f'<section id="{service}.{event}"><h3><a href="#{service}.{event}">{escape(event)}</a></h3>'
        f"<p><code>{escape(channel['address'])}</code></p>"
        + "".join(f"<p>{_words(one)}</p>" for one in facts if one)
        + (f"<h4>Fields</h4>{_table(fields)}" if fields else "")
        + "".join(f"<details><summary>Example</summary>{_json(one)}</details>" for one in examples)
        + "</section>"
    )


def _fields(document: Json, schema: Json) -> Iterator[tuple[str, ...]]:
    required = schema.get("required", ())
    for name, one in schema.get("properties", {}).items():
        yield f"`{name}`", "" if name in required else "optional", _kind(document, one), one.get("description", "")


def _kind(document: Json, schema: Json) -> str:
    """Return a schema's type: `string`, `string[]`, `string or null`, or the members of an object."""
    if "anyOf" in schema:
        return " or ".join(_kind(document, one) for one in schema["anyOf"])
    schema = _resolved(document, schema)
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "properties" in schema:
        return f"{{{', '.join(schema['properties'])}}}"
    if schema.get("type") == "array":
        return f"{_kind(document, schema.get('items', {}))}[]"
    return str(schema.get("format", schema.get("const", schema.get("type", "any"))))


def _resolved(document: Json, schema: Json) -> Json:
    reference = schema.get("$ref", "")
    return document["components"]["schemas"][reference.rpartition("/")[2]] if reference else schema


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    lines = ("".join(f"<td>{_words(cell)}" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{line}' for line in lines)}</table>"


def _json(example: Any) -> str:
    return "" if example is None else f"<pre>{escape(json.dumps(example, indent=2, ensure_ascii=False))}</pre>"


def _words(text: str) -> str:
    """Return the text escaped for HTML, with parts between backticks as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))
