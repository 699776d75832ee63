"""A client in a pod: launches builds, reads and follows events until it is told to stop, then says what went wrong.

Runs by itself, without this package: `python load.py <address> <repository>`, the password in its environment; SIGTERM
stops it. It tries nothing twice; only its stream of events goes on where it ended, as a browser's does.
"""

import asyncio
import json
import os
import signal
import ssl
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

AUTHORITY = Path("/authority/ca.crt")  # of a gateway that speaks TLS
READERS = 4
LAUNCH_EVERY = 1.0
PATIENCE = 180.0  # seconds for the last builds to end


@dataclass
class Load:
    client: httpx.AsyncClient
    project: int
    stop: asyncio.Event
    requests: int = 0
    failures: list[str] = field(default_factory=list)
    launched: list[int] = field(default_factory=list)
    heard: Counter[int] = field(default_factory=Counter)  # ends of builds, by the events
    streams: int = 0

    async def run(self) -> dict[str, Any]:
        listening = asyncio.create_task(self._listen())
        async with asyncio.TaskGroup() as group:
            group.create_task(self._launch())
            for _ in range(READERS):
                group.create_task(self._read())
        exits = await self._exits()
        deadline = time.monotonic() + 30
        while set(self.heard) != set(self.launched) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        listening.cancel()
        return {
            "requests": self.requests,
            "failures": self.failures,
            "launched": len(self.launched),
            "exit_codes": Counter(str(code) for code in exits.values()),
            "unheard": sorted(set(self.launched) - set(self.heard)),
            "heard_twice": sorted(build for build, times in self.heard.items() if times > 1),
            "streams": self.streams,
        }

    async def _launch(self) -> None:
        while not self.stop.is_set():
            body: dict[str, Any] = {"build": {"ignore_steps": []}}
            answer = await self._ask("POST", f"/developer/builds/{self.project}", json=body)
            if answer is not None:
                self.launched.append(answer["build_id"])
            await asyncio.sleep(LAUNCH_EVERY)

    async def _read(self) -> None:
        paths = (f"/admin/projects/{self.project}", "/developer/builds/queueds", "/admin/runners?page=0")
        while not self.stop.is_set():
            for path in paths:
                await self._ask("GET", path)
                await asyncio.sleep(0.1)

    async def _exits(self) -> dict[int, Any]:
        """Of all that were launched; None for one that did not end."""
        exits: dict[int, Any] = {}
        deadline = time.monotonic() + PATIENCE
        for build in self.launched:
            found = await self._ask("GET", f"/developer/builds/{build}")
            while not (found and found.get("completed_at")) and time.monotonic() < deadline:
                await asyncio.sleep(0.5)
                found = await self._ask("GET", f"/developer/builds/{build}")
            exits[build] = (found or {}).get("exit_code")
        return exits

    async def _ask(self, method: str, path: str, **more: Any) -> Any:
        self.requests += 1
        begun = time.monotonic()
        try:
            answer = await self.client.request(method, path, **more)
        except httpx.TransportError as error:
            self._note(begun, f"{method} {path}: {type(error).__name__}")
            return None
        if answer.is_error:
            self._note(begun, f"{method} {path}: {answer.status_code} {answer.text[:300]}")
            return None
        return answer.json()

    def _note(self, begun: float, failure: str) -> None:
        self.failures.append(f"after {time.monotonic() - begun:.2f} s {failure}")
        tell(self.failures[-1])

    async def _listen(self) -> None:
        last = ""
        while True:
            self.streams += 1
            try:
                headers = {"Last-Event-ID": last} if last else {}
                async with self.client.stream("GET", "/events", headers=headers, timeout=60) as response:
                    response.raise_for_status()
                    tell("listening")
                    fields: dict[str, str] = {}
                    async for line in response.aiter_lines():
                        if line and not line.startswith(":"):
                            name, _, value = line.partition(": ")
                            fields[name] = value
                        elif fields:
                            last = fields["id"]
                            if fields["event"] == "BuildFinished":
                                self.heard[json.loads(fields["data"])["build_id"]] += 1
                            fields = {}
            except httpx.HTTPError as error:
                tell(f"the stream broke: {type(error).__name__}")
            await asyncio.sleep(0.2)


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def trusted() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=AUTHORITY if AUTHORITY.exists() else None)


async def main(address: str, repository: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with httpx.AsyncClient(base_url=f"{address}/api", timeout=20, verify=trusted()) as client:
        login = {"auth": {"username": "admin", "password": os.environ["HEADRACE_ADMIN_PASSWORD"]}}
        token = (await client.post("/auth/token", json=login)).raise_for_status().json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        executors = (await client.get("/developer/executors")).json()
        project = {
            "name": f"load {uuid4().hex[:8]}",
            "repository": repository,
            "branch": "main",
            "spec_file_path": "/headrace.yaml",
            "allow_concurrent_execution": True,
            "executor_id": next(one["id"] for one in executors if one["name"] == "default"),
        }
        made = (await client.post("/admin/projects", json={"project": project})).raise_for_status().json()
        tell("REPORT " + json.dumps(await Load(client, made["id"], stop).run()))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
