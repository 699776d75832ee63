"""Scenes: sequences of HTTP calls with their expected responses, read from YAML files.

A file is a list of scenes with a title (`scene`) and `calls`. A call has these keys:

- `call`: method and path below /api
- `as`: the client that calls; the administrator by default
- `headers`, `json`: request headers and JSON body
- `status`: expected status, and the code of an error
- `contains`: members that the response must contain; it may have more
- `save`: variables saved for later calls, as name and path of the member
- `retry`: repeat the call until it gets this response

`{name}` is replaced with a variable: one that the scene starts with, or one that it saved.
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

from tests.support.gateway_routes import GatewayRoute

RETRY_TIMEOUT = 30  # maximum seconds until a call with `retry` gets its expected response
PLACEHOLDER = re.compile(r"\{(\w+)\}")
PATH_PARAMETER = re.compile(r"\{\w+(:\w+)?\}")
VALUE_TYPES: dict[str, type | tuple[type, ...]] = {
    "number": int,
    "text": str,
    "boolean": bool,
    "list": list,
    "object": dict,
    "null": type(None),
}


@dataclass(frozen=True)
class Scene:
    title: str
    calls: tuple[dict[str, Any], ...]


@dataclass
class ScenePlayer:
    clients: Mapping[str, httpx.Client]
    variables: dict[str, Any]
    failures: list[str] = field(default_factory=list)

    def perform(self, line: Mapping[str, Any]) -> None:
        deadline = time.monotonic() + (RETRY_TIMEOUT if line.get("retry") else 0)
        while (failures_of_call := self._perform_once(line)) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.failures += [f"{line.get('as', 'admin')}: {line['call']}\n  {failure}" for failure in failures_of_call]

    def _perform_once(self, line: Mapping[str, Any]) -> list[str]:
        method, path = line["call"].split(" ", 1)
        sent = {"json": self._fill(line["json"])} if "json" in line else {}
        response = self.clients[line.get("as", "admin")].request(
            method, self._fill_path(path), headers=self._fill(line.get("headers", {})), **sent
        )
        status, _, code = str(line["status"]).partition(" ")
        actual: Any = response.json() if "json" in response.headers.get("content-type", "") else response.text
        if response.status_code != int(status) or (code and actual.get("message") != code):
            return [f"expected {line['status']}, got {response.status_code} {response.text[:300]}"]
        for name, member in line.get("save", {}).items():
            self.variables[name] = reduce(
                lambda value, part: value[int(part) if part.isdigit() else part], member.split("."), actual
            )
        return list(find_differences(self._fill(line["contains"]), actual)) if "contains" in line else []

    def _fill_path(self, path: str) -> str:
        return PLACEHOLDER.sub(lambda name: str(self.variables[name[1]]), path)

    def _fill(self, value: Any) -> Any:
        match value:
            case dict():
                return {name: self._fill(member) for name, member in value.items()}
            case list():
                return [self._fill(item) for item in value]
            case str() if whole := PLACEHOLDER.fullmatch(value):
                return self.variables[whole[1]]
            case str():
                return self._fill_path(value)
            case _:
                return value


def load_scenes(folder: Path) -> Iterator[Scene]:
    for file in sorted(folder.glob("*.yaml")):
        for scene in yaml.load(file.read_text(), yaml.CSafeLoader):
            yield Scene(f"{file.stem}: {scene['scene']}", tuple(scene["calls"]))


def find_differences(expected: Any, actual: Any, where: str = "the response") -> Iterator[str]:
    """Yield the differences. A placeholder such as `<number>` or `<text or null>` matches any value of its type."""
    match expected, actual:
        case str(), _ if expected.startswith("<"):
            if not any(_is_of_type(kind, actual) for kind in expected.strip("<>").split(" or ")):
                yield f"{where} is {actual!r}, not {expected}"
        case dict(), dict():
            for name, member in expected.items():
                if name in actual:
                    yield from find_differences(member, actual[name], f"{where}.{name}")
                else:
                    yield f"{where} has no {name}"
        case list(), list() if len(expected) == len(actual):
            for index, (expected_item, actual_item) in enumerate(zip(expected, actual, strict=True)):
                yield from find_differences(expected_item, actual_item, f"{where}[{index}]")
        case _ if type(expected) is not type(actual) or expected != actual:
            yield f"{where} is {actual!r}, not {expected!r}"


def _is_of_type(kind: str, actual: Any) -> bool:
    if kind.startswith("list of "):
        return isinstance(actual, list) and all(
            _is_of_type(kind.removeprefix("list of ").removesuffix("s"), item) for item in actual
        )
    if kind in VALUE_TYPES:
        return isinstance(actual, VALUE_TYPES[kind]) and (kind == "boolean" or not isinstance(actual, bool))
    try:
        match kind:
            case "time":
                datetime.fromisoformat(actual)
            case "uuid":
                UUID(actual)
            case _:
                raise AssertionError(f"unknown type {kind}")
    except (ValueError, TypeError):
        return False
    return True


def list_uncalled_routes(all_scenes: Iterable[Scene], table: Iterable[GatewayRoute]) -> list[str]:
    called = [line["call"].split("?")[0] for scene in all_scenes for line in scene.calls]
    return [
        f"{route.method} {route.path}"
        for route in table
        if not any(re.fullmatch(f"{route.method} {PATH_PARAMETER.sub('[^/]+', route.path)}", call) for call in called)
    ]
