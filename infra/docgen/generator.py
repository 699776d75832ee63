"""`python -m infra.docgen.generator` writes the generated documents; `--check` reports those that are out of date."""

import argparse
import difflib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gateway
from contracts.messages import Event
from gateway import openapi
from gateway.framework.asyncapi_html import event_page
from gateway.framework.openapi_html import docs_page
from gateway.routes import TABLE
from infra.docgen import asyncapi, error_codes, message_reference, nats_config
from infra.docgen.call_graph import find_imported_messages
from infra.docgen.declarations import ServiceDeclaration, collect_declarations, find_unhandled
from infra.docgen.golden_samples import build_sample, golden_path, to_json
from infra.migration import load_services

ROOT = Path(__file__).parents[2]
MAX_DIFF_LINES = 40  # lines


def render_documents(root: Path = ROOT) -> dict[Path, str]:
    """Every document with the text that it should have."""
    services = load_services()
    declared = collect_declarations(services)
    return {
        root / "docs" / "MESSAGES.md": message_reference.render(declared, find_imported_messages(gateway)),
        root / "docs" / "ERRORS.md": error_codes.render(),
        root / "contracts" / "openapi.json": to_json(openapi.document(TABLE)),
        root / "contracts" / "asyncapi.json": to_json(asyncapi.build_document(declared)),
        root / "infra" / "nats" / "nats.conf": nats_config.render(services, find_imported_messages(gateway)),
    }


def list_events(declared: Sequence[ServiceDeclaration]) -> list[type[Event]]:
    return [event for one in declared for event in one.events]


def find_problems(root: Path = ROOT) -> Iterator[str]:
    """What is missing or out of date, in words."""
    declared = collect_declarations(load_services())
    for message in find_unhandled(declared):
        yield f"{message.wire_name} stands in contracts/{message.service}.py, but the service does not take it."
    for one in declared:
        yield from message_reference.find_undeclared_calls(one)
    for event in list_events(declared):
        if not (file := golden_path(root / "contracts" / "golden", event)).exists():
            yield f"{file.relative_to(root)} is missing; write it with `python -m infra.docgen.generator --golden`."
    for path, text in render_documents(root).items():
        present = path.read_text() if path.exists() else ""
        if present != text:
            yield f"{path.relative_to(root)} is out of date; run `make docs`.\n{_diff(present, text)}"


def _diff(current: str, expected: str) -> str:
    lines = difflib.unified_diff(
        current.splitlines(), expected.splitlines(), "as it is", "as it should be", lineterm="", n=0
    )
    shown = [line[:200] for line in lines]
    more = [f"... and {len(shown) - MAX_DIFF_LINES} lines more"] if len(shown) > MAX_DIFF_LINES else []
    return "\n".join(shown[:MAX_DIFF_LINES] + more)


def render_html_pages(root: Path = ROOT) -> dict[Path, str]:
    """What the gateway shows at /api/docs and /api/events/docs, for other web servers; not kept in the repository."""
    return {
        root / "docs" / "html" / "api.html": docs_page(openapi.document(TABLE)),
        root / "docs" / "html" / "events.html": event_page(
            asyncapi.build_document(collect_declarations(load_services()))
        ),
    }


def write_documents(root: Path = ROOT) -> Iterator[Path]:
    for path, text in {**render_documents(root), **render_html_pages(root)}.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        yield path


def write_missing_samples(root: Path = ROOT) -> Iterator[Path]:
    """A sample that exists is a released fact and stays as it is."""
    folder = root / "contracts" / "golden"
    folder.mkdir(exist_ok=True)
    for event in list_events(collect_declarations(load_services())):
        if not (file := golden_path(folder, event)).exists():
            file.write_text(to_json(build_sample(event)))
            yield file


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.docgen.generator", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 when something is amiss")
    parser.add_argument("--golden", action="store_true", help="write the golden samples that are missing")
    chosen = parser.parse_args(arguments)
    if chosen.check:
        found = list(find_problems())
        _print_lines(found or ["The generated documents are up to date."])
        return 1 if found else 0
    tasks: list[Callable[[], Iterator[Path]]] = (
        [write_missing_samples, write_documents] if chosen.golden else [write_documents]
    )
    _print_lines(f"{path.relative_to(ROOT)} written" for task in tasks for path in task())
    return 0


def _print_lines(lines: Any) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
