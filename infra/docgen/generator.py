"""Write the generated documents. With --check, only report outdated documents and incomplete declarations."""

import argparse
import difflib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gateway
from contracts.messages import Event
from gateway.api import create_api
from gateway.openapi import generate_document
from infra.docgen import cli_reference, error_codes, message_reference, nats_config, settings_reference
from infra.docgen.asyncapi.document import build_document
from infra.docgen.call_graph import find_imported_messages
from infra.docgen.declarations import ServiceDeclaration, collect_declarations, find_unhandled
from infra.docgen.golden_samples import build_sample, golden_path, to_json
from infra.service_catalog import load_services

ROOT = Path(__file__).parents[2]
ALERT_RULES = ROOT / "infra" / "observability" / "alerts.yml"
MAX_DIFF_LINES = 40


def render_documents(root: Path = ROOT) -> dict[Path, str]:
    services = load_services()
    declared, gateway_messages = collect_declarations(services), find_imported_messages(gateway)
    return {
        root / "docs" / "developing" / "messages.md": message_reference.render(declared, gateway_messages),
        root / "docs" / "operating" / "error-codes.md": error_codes.render(),
        root / "docs" / "operating" / "settings.md": settings_reference.render(),
        root / "docs" / "using" / "cli.md": cli_reference.render(),
        root / "contracts" / "openapi.json": json.dumps(generate_document(create_api()), indent=1) + "\n",
        root / "contracts" / "asyncapi.json": to_json(build_document(declared)),
        root / "infra" / "nats" / "nats.conf": nats_config.render(services, gateway_messages),
        # a copy, because Helm reads only files of the chart, and Flux leaves links out
        root / "infra" / "helm" / "headrace" / "files" / "alerts.yml": ALERT_RULES.read_text(),
    }


def list_events(declared: Sequence[ServiceDeclaration]) -> list[type[Event]]:
    return [event for declaration in declared for event in declaration.events]


def find_problems(root: Path = ROOT) -> Iterator[str]:
    """Yield a message for each gap in the declarations and for each generated document that is out of date."""
    declared = collect_declarations(load_services())
    for message in find_unhandled(declared):
        yield f"{message.wire_name} is part of contracts/{message.service}, but the service does not handle it."
    for declaration in declared:
        yield from message_reference.find_undeclared_calls(declaration)
    yield from settings_reference.find_problems()
    yield from find_outdated_files(root, list_events(declared), render_documents(root))


def find_outdated_files(root: Path, events: Sequence[type[Event]], documents: Mapping[Path, str]) -> Iterator[str]:
    for event in events:
        if not (file := golden_path(root / "contracts" / "golden", event)).exists():
            yield f"{file.relative_to(root)} is missing; write it with `python -m infra.docgen --golden`."
    for path, text in documents.items():
        current = path.read_text() if path.exists() else ""
        if current != text:
            yield f"{path.relative_to(root)} is out of date; run `make docs`.\n{_diff(current, text)}"


def _diff(current: str, expected: str) -> str:
    lines = difflib.unified_diff(current.splitlines(), expected.splitlines(), "current", "expected", lineterm="", n=0)
    shortened = [line[:200] for line in lines]
    more = [f"... and {len(shortened) - MAX_DIFF_LINES} more lines"] if len(shortened) > MAX_DIFF_LINES else []
    return "\n".join(shortened[:MAX_DIFF_LINES] + more)


def write_documents(root: Path = ROOT) -> Iterator[Path]:
    for path, text in render_documents(root).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        yield path


def write_missing_samples(root: Path = ROOT) -> Iterator[Path]:
    """Write missing golden samples and yield their files. Existing ones belong to released events and are never changed."""
    folder = root / "contracts" / "golden"
    folder.mkdir(exist_ok=True)
    for event in list_events(collect_declarations(load_services())):
        if not (file := golden_path(folder, event)).exists():
            file.write_text(to_json(build_sample(event)))
            yield file


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.docgen", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit status 1 if a document is missing or out of date"
    )
    parser.add_argument("--golden", action="store_true", help="write the golden samples that are missing")
    options = parser.parse_args(arguments)
    if options.check:
        problems = list(find_problems())
        _print_lines(problems or ["The generated documents are up to date."])
        return 1 if problems else 0
    tasks: list[Callable[[], Iterator[Path]]] = (
        [write_missing_samples, write_documents] if options.golden else [write_documents]
    )
    _print_lines(f"{path.relative_to(ROOT)} written" for task in tasks for path in task())
    return 0


def _print_lines(lines: Any) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
