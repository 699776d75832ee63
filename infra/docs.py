"""`python -m infra.docs` writes the generated documents; with --check it only says whether they are up to date."""

import argparse
import difflib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gateway
from contracts.messages import Event
from gateway import openapi
from gateway.event_page import event_page
from gateway.pages import docs_page
from gateway.routes import TABLE
from infra.documents import asyncapi, errors, messages, nats
from infra.documents.declared import Declared, gather, unanswered
from infra.documents.reading import imported_by
from infra.documents.samples import as_json, golden_file, sample
from infra.migrate import all_services

ROOT = Path(__file__).parent.parent
HEAD_OF_DIFF = 40  # lines


def generate(root: Path = ROOT) -> dict[Path, str]:
    """Every document with the text that it should have."""
    services = all_services()
    declared = gather(services)
    return {
        root / "docs" / "MESSAGES.md": messages.text(declared, imported_by(gateway)),
        root / "docs" / "ERRORS.md": errors.text(),
        root / "contracts" / "openapi.json": as_json(openapi.document(TABLE)),
        root / "contracts" / "asyncapi.json": as_json(asyncapi.document(declared)),
        root / "infra" / "nats" / "nats.conf": nats.text(services, imported_by(gateway)),
    }


def events(declared: Sequence[Declared]) -> list[type[Event]]:
    return [event for one in declared for event in one.events]


def complaints(root: Path = ROOT) -> Iterator[str]:
    """What is missing or out of date, in words."""
    declared = gather(all_services())
    for message in unanswered(declared):
        yield f"{message.wire_name} stands in contracts/{message.service}.py, but the service does not take it."
    for one in declared:
        yield from messages.undeclared(one)
    for event in events(declared):
        if not (file := golden_file(root / "contracts" / "golden", event)).exists():
            yield f"{file.relative_to(root)} is missing; write it with `python -m infra.docs --golden`."
    for path, text in generate(root).items():
        present = path.read_text() if path.exists() else ""
        if present != text:
            yield f"{path.relative_to(root)} is out of date; run `make docs`.\n{_difference(present, text)}"


def _difference(present: str, wanted: str) -> str:
    lines = difflib.unified_diff(
        present.splitlines(), wanted.splitlines(), "as it is", "as it should be", lineterm="", n=0
    )
    shown = [line[:200] for line in lines]
    more = [f"... and {len(shown) - HEAD_OF_DIFF} lines more"] if len(shown) > HEAD_OF_DIFF else []
    return "\n".join(shown[:HEAD_OF_DIFF] + more)


def pages(root: Path = ROOT) -> dict[Path, str]:
    """What the gateway shows at /api/docs and /api/events/docs, for other web servers; not kept in the repository."""
    return {
        root / "docs" / "html" / "api.html": docs_page(openapi.document(TABLE)),
        root / "docs" / "html" / "events.html": event_page(asyncapi.document(gather(all_services()))),
    }


def write(root: Path = ROOT) -> Iterator[Path]:
    for path, text in {**generate(root), **pages(root)}.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        yield path


def write_missing_golden(root: Path = ROOT) -> Iterator[Path]:
    """A sample that exists is a released fact and stays as it is."""
    folder = root / "contracts" / "golden"
    folder.mkdir(exist_ok=True)
    for event in events(gather(all_services())):
        if not (file := golden_file(folder, event)).exists():
            file.write_text(as_json(sample(event)))
            yield file


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 when something is amiss")
    parser.add_argument("--golden", action="store_true", help="write the golden samples that are missing")
    chosen = parser.parse_args(arguments)
    if chosen.check:
        found = list(complaints())
        _say(found or ["The generated documents are up to date."])
        return 1 if found else 0
    tasks: list[Callable[[], Iterator[Path]]] = [write_missing_golden, write] if chosen.golden else [write]
    _say(f"{path.relative_to(ROOT)} written" for task in tasks for path in task())
    return 0


def _say(lines: Any) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
