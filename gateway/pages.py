"""The page at `/api/docs`: the OpenAPI document for people, in one file that needs nothing from elsewhere."""

from html import escape
from typing import Any

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "code{font-size:.95em}summary{cursor:pointer;padding:.2rem 0}summary b{display:inline-block;width:5rem}"
    "dl{margin:.2rem 0 1rem 5rem}dt{font-weight:600}@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}}"
)


def docs_page(document: dict[str, Any]) -> str:
    operations = [
        (operation["tags"][0], method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    sections = [
        f"<h2>{escape(tag)}</h2>" + "".join(_operation(*one) for own, *one in operations if own == tag)
        for tag in dict.fromkeys(operation[0] for operation in operations)
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Headrace API</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style><h1>Headrace API</h1>'
        f"<p>{escape(document['info']['description'])} The document: "
        f'<a href="/api/openapi.json">openapi.json</a>.</p>{"".join(sections)}</html>'
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    fields = [
        f"{resource}.{name}" for resource, one in body.get("properties", {}).items() for name in one["properties"]
    ]
    lines = [("Fields", ", ".join(fields))] if fields else []
    lines += [(status, one["description"]) for status, one in operation["responses"].items()]
    facts = "".join(f"<dt>{escape(name)}<dd>{escape(text)}" for name, text in lines)
    note = escape(operation.get("description", "Needs no token."))
    return (
        f"<details><summary><b>{method.upper()}</b><code>{escape(path)}</code> {escape(operation['summary'])}</summary>"
        f"<dl><dt>Access<dd>{note}{facts}</dl></details>"
    )
