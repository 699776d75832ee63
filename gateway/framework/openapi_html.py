"""The page at `/api/docs`: the OpenAPI document as a self-contained HTML file."""

import json
from collections.abc import Iterable, Iterator
from html import escape
from typing import Any

from contracts.errors import CODES

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
METHODS = ("get", "post", "put", "patch", "delete")


def docs_page(document: dict[str, Any]) -> str:
    operations = [
        (method, path, methods[method])
        for path, methods in document["paths"].items()
        for method in METHODS
        if method in methods
    ]
    tags = [tag for tag in document["tags"] if any(tag["name"] in one["tags"] for _, _, one in operations)]
    links = [f'<a href="#{escape(tag["name"])}">{escape(tag["name"])}</a>' for tag in tags]
    sections = "".join(
        f'<h2 id="{escape(tag["name"])}">{escape(tag["name"])}</h2><p>{escape(tag["description"])}</p>'
        + "".join(_operation(*one) for one in operations if tag["name"] in one[2]["tags"])
        for tag in tags
    )
    shapes = "".join(_shape(name, one) for name, one in document["components"]["schemas"].items())
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Headrace API</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f'<nav>{"".join(links)}<a href="#shapes">Shapes</a><a href="#errors">Error codes</a><a href="/api/openapi.json">openapi.json</a></nav>'
        f"<main><h1>Headrace API</h1><p>{_words(document['info']['description'])}</p>{sections}"
        f'<h2 id="shapes">Shapes</h2>{shapes}{_errors()}</main></html>'
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    verb = method.upper()
    return (
        f'<details id="{escape(operation["operationId"])}"><summary><span class="method {verb}">{verb}</span>'
        f'<code>{escape(path)}</code> <span class="quiet">{escape(operation["summary"])}</span></summary>'
        f"<p>{_words(operation['description'])}</p>{''.join(_facts(operation))}</details>"
    )


def _facts(operation: dict[str, Any]) -> Iterator[str]:
    if parameters := operation["parameters"]:
        rows = ((one["name"], one["in"], _kind(one["schema"]), one.get("description", "")) for one in parameters)
        yield f"<h3>Parameters</h3>{_table(rows)}"
    for media, one in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<h3>Body <code>{escape(media)}</code></h3>{_table(_fields(one.get('schema', {})))}"
        yield _json(one.get("example"))
    for status, one in operation["responses"].items():
        codes = [line.removeprefix("- ") for line in one["description"].split("\n")]
        yield f"<h3>{escape(status)}</h3>{_table((code,) for code in codes)}"
        if status < "400":
            for body in one.get("content", {}).values():
                yield _link(body["schema"]) + _json(body.get("example"))


def _link(schema: dict[str, Any]) -> str:
    """Return a link to the schema of a response or of its list items; empty without a named schema."""
    name = schema.get("items", schema).get("$ref", "").rpartition("/")[2]
    return (
        f'<p><a href="#shape.{escape(name)}">{escape(name)}{"[]" if "items" in schema else ""}</a></p>' if name else ""
    )


def _shape(name: str, schema: dict[str, Any]) -> str:
    fields = schema.get("properties", {}).items()
    rows = ((f"`{field}`", _kind(one), one.get("description", "")) for field, one in fields)
    shown = _table(rows) if fields else f"<p>{_words(_kind(schema))}</p>"
    return f'<details id="shape.{escape(name)}"><summary>{escape(name)}</summary>{shown}</details>'


def _fields(schema: dict[str, Any], before: str = "", needed: bool = True) -> Iterator[tuple[str, ...]]:
    required = schema.get("required", ())
    for name, one in schema.get("properties", {}).items():
        context = needed and name in required
        if "properties" in one:
            yield from _fields(one, f"{before}{name}.", context)
        else:
            yield (f"`{before}{name}`", "required" if context else "", _kind(one), one.get("description", ""))


def _kind(schema: dict[str, Any]) -> str:
    """Return a schema's type with its limits, like `string or null`, or the name of the schema that it refers to."""
    if "anyOf" in schema:
        return " or ".join(map(_kind, schema["anyOf"]))
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if schema.get("type") == "array" and "items" in schema:
        return f"{_kind(schema['items'])}[]"
    kinds = schema.get("type", "any")
    text = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    limits = (
        f"{name} {schema[name]}" for name in ("format", "enum", "minimum", "maxLength", "maxItems") if name in schema
    )
    return ", ".join((text, *limits))


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    lines = ("".join(f"<td>{_words(cell)}" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{line}' for line in lines)}</table>"


def _json(example: Any) -> str:
    return "" if example is None else f"<pre>{escape(json.dumps(example, indent=2, ensure_ascii=False))}</pre>"


def _words(text: str) -> str:
    """Return the text escaped for HTML, with parts between backticks as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))


def _errors() -> str:
    rows = ((f"`{name}`", str(code.status), code.summary) for name, code in CODES.items())
    return f'<h2 id="errors">Error codes</h2>{_table(rows)}'
