"""Scenes of calls and answers, read from data files that can be compared with the contract line by line.

A file is a list of scenes; a scene has a title and calls. A call names method and path below /api, who calls (`as`, an
administrator unless told), what is sent (`send`: JSON), the answer (status, and the code of a failure), what it shows
and what of it is kept for later calls (`keep`: a path of members). `{name}` stands for something kept. What an answer
shows may hold more members. A `patient` call is made again until it is answered so.
"""

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import yaml

from gateway.framework.route_table import Route
from gateway.openapi.requests import CAPTURED

RETRY_TIMEOUT = 30  # seconds
PLACEHOLDER = re.compile(r"\{(\w+)\}")
VALUE_TYPES: dict[str, type | tuple[type, ...]] = {
    "number": int,
    "text": str,
    "boolean": bool,
    "list": list,
    "object": dict,
    "nothing": type(None),
}


@dataclass(frozen=True)
class Scene:
    title: str
    calls: tuple[dict[str, Any], ...]


@dataclass
class ScenePlayer:
    """One scene, being played."""

    clients: Mapping[str, httpx.Client]
    variables: dict[str, Any]
    failures: list[str] = field(default_factory=list)

    def perform(self, line: Mapping[str, Any]) -> None:
        deadline = time.monotonic() + (RETRY_TIMEOUT if line.get("patient") else 0)
        while (complaints := self._perform_once(line)) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.failures += [f"{line.get('as', 'admin')}: {line['call']}\n  {one}" for one in complaints]

    def _perform_once(self, line: Mapping[str, Any]) -> list[str]:
        method, path = line["call"].split(" ", 1)
        sent = {"json": self._fill(line["send"])} if "send" in line else {}
        answer = self.clients[line.get("as", "admin")].request(
            method, self._fill_path(path), headers=self._fill(line.get("headers", {})), **sent
        )
        status, _, code = str(line["answer"]).partition(" ")
        found: Any = answer.json() if "json" in answer.headers.get("content-type", "") else answer.text
        if answer.status_code != int(status) or (code and found.get("message") != code):
            return [f"wanted {line['answer']}, got {answer.status_code} {answer.text[:300]}"]
        for name, member in line.get("keep", {}).items():
            self.variables[name] = reduce(
                lambda here, part: here[int(part) if part.isdigit() else part], member.split("."), found
            )
        return list(find_differences(self._fill(line["shows"]), found)) if "shows" in line else []

    def _fill_path(self, path: str) -> str:
        return PLACEHOLDER.sub(lambda name: str(self.variables[name[1]]), path)

    def _fill(self, value: Any) -> Any:
        match value:
            case dict():
                return {name: self._fill(one) for name, one in value.items()}
            case list():
                return [self._fill(one) for one in value]
            case str() if whole := PLACEHOLDER.fullmatch(value):
                return self.variables[whole[1]]
            case str():
                return self._fill_path(value)
            case _:
                return value


def load_scenes(folder: Path) -> Iterator[Scene]:
    for file in sorted(folder.glob("*.yaml")):
        for scene in yaml.safe_load(file.read_text()):
            yield Scene(f"{file.stem}: {scene['scene']}", tuple(scene["calls"]))


def find_differences(wanted: Any, found: Any, where: str = "the answer") -> Iterator[str]:
    """Where what was found is not what was wanted; `<number>`, `<text or nothing>` and the like mean any such value."""
    match wanted, found:
        case str(), _ if wanted.startswith("<"):
            if not any(_is_of_type(kind, found) for kind in wanted.strip("<>").split(" or ")):
                yield f"{where} is {found!r}, not {wanted}"
        case dict(), dict():
            for name, one in wanted.items():
                if name in found:
                    yield from find_differences(one, found[name], f"{where}.{name}")
                else:
                    yield f"{where} has no {name}"
        case list(), list() if len(wanted) == len(found):
            for place, (one, other) in enumerate(zip(wanted, found, strict=True)):
                yield from find_differences(one, other, f"{where}[{place}]")
        case _ if type(wanted) is not type(found) or wanted != found:
            yield f"{where} is {found!r}, not {wanted!r}"


def _is_of_type(kind: str, found: Any) -> bool:
    if kind.startswith("list of "):
        return isinstance(found, list) and all(
            _is_of_type(kind.removeprefix("list of ").removesuffix("s"), one) for one in found
        )
    if kind in VALUE_TYPES:
        return isinstance(found, VALUE_TYPES[kind]) and (kind == "boolean" or not isinstance(found, bool))
    try:
        match kind:
            case "moment":
                datetime.fromisoformat(found)
            case "uuid":
                UUID(found)
            case _:
                raise AssertionError(f"the table knows no {kind}")
    except (ValueError, TypeError):
        return False
    return True


def list_uncalled_routes(all_scenes: Iterable[Scene], table: Iterable[Route]) -> list[str]:
    """The routes that no call of any scene reaches."""
    called = [line["call"].split("?")[0] for scene in all_scenes for line in scene.calls]
    return [
        f"{route.method} {route.path}"
        for route in table
        if not any(re.fullmatch(f"{route.method} {CAPTURED.sub('[^/]+', route.path)}", one) for one in called)
    ]
