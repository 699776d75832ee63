"""`python load.py <address> <repository>`: generate load from a pod until SIGTERM, then print a report.

It launches builds, reads resources and follows the event stream. Every failed request is reported, even if a repetition
succeeds. The event stream reconnects as a browser does.

HEADRACE_ADMIN_PASSWORD contains the password. The module does not import the packages of the tests, because the pod
does not contain them.
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

AUTHORITY = Path("/authority/ca.crt")  # CA certificate of a gateway with TLS
READER_COUNT = 4
LAUNCH_INTERVAL_SECONDS = 1.0
BUILD_TIMEOUT_SECONDS = 180.0  # maximum wait until the last builds have finished


@dataclass
class Load:
    client: httpx.AsyncClient
    project: int
    stop: asyncio.Event
    requests: int = 0
    failures: list[str] = field(default_factory=list)
    launched: list[int] = field(default_factory=list)
    finished_events: Counter[int] = field(default_factory=Counter)  # number of BuildFinished events received, by build
    stream_count: int = 0

    async def run(self) -> dict[str, Any]:
        listening = asyncio.create_task(self._listen())
        async with asyncio.TaskGroup() as group:
            group.create_task(self._launch())
            for _ in range(READER_COUNT):
                group.create_task(self._read())
        exit_codes = await self._read_exit_codes()
        deadline = time.monotonic() + 30
        while set(self.finished_events) != set(self.launched) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        listening.cancel()
        return {
            "requests": self.requests,
            "failures": self.failures,
            "launched": len(self.launched),
            "exit_codes": Counter(str(code) for code in exit_codes.values()),
            "unheard": sorted(set(self.launched) - set(self.finished_events)),
            "heard_twice": sorted(build for build, times in self.finished_events.items() if times > 1),
            "streams": self.stream_count,
        }

    async def _launch(self) -> None:
        while not self.stop.is_set():
            body: dict[str, Any] = {"build": {"ignore_steps": []}}
            response = await self._request("POST", f"/developer/builds/{self.project}", json=body)
            if response is not None:
                self.launched.append(response["build_id"])
            await asyncio.sleep(LAUNCH_INTERVAL_SECONDS)

    async def _read(self) -> None:
        paths = (f"/admin/projects/{self.project}", "/developer/builds/queueds", "/admin/runners?page=0")
        while not self.stop.is_set():
            for path in paths:
                await self._request("GET", path)
                await asyncio.sleep(0.1)

    async def _read_exit_codes(self) -> dict[int, Any]:
        """Return the exit codes of all launched builds. None: the build has not finished."""
        exit_codes: dict[int, Any] = {}
        deadline = time.monotonic() + BUILD_TIMEOUT_SECONDS
        for build in self.launched:
            build_view = await self._request("GET", f"/developer/builds/{build}")
            while not (build_view and build_view.get("completed_at")) and time.monotonic() < deadline:
                await asyncio.sleep(0.5)
                build_view = await self._request("GET", f"/developer/builds/{build}")
            exit_codes[build] = (build_view or {}).get("exit_code")
        return exit_codes

    async def _request(self, method: str, path: str, **more: Any) -> Any:
        self.requests += 1
        started = time.monotonic()
        try:
            response = await self.client.request(method, path, **more)
        except httpx.TransportError as error:
            self._record_failure(started, f"{method} {path}: {type(error).__name__}")
            return None
        if response.is_error:
            self._record_failure(started, f"{method} {path}: {response.status_code} {response.text[:300]}")
            return None
        return response.json()

    def _record_failure(self, started: float, failure: str) -> None:
        self.failures.append(f"after {time.monotonic() - started:.2f} s {failure}")
        print_line(self.failures[-1])

    async def _listen(self) -> None:
        last = ""
        while True:
            self.stream_count += 1
            try:
                headers = {"Last-Event-ID": last} if last else {}
                async with self.client.stream("GET", "/events", headers=headers, timeout=60) as response:
                    response.raise_for_status()
                    print_line("listening")
                    fields: dict[str, str] = {}
                    async for line in response.aiter_lines():
                        if line and not line.startswith(":"):
                            name, _, value = line.partition(": ")
                            fields[name] = value
                        elif fields:
                            last = fields["id"]
                            if fields["event"] == "BuildFinished":
                                self.finished_events[json.loads(fields["data"])["build_id"]] += 1
                            fields = {}
            except httpx.HTTPError as error:
                print_line(f"the event stream ended: {type(error).__name__}")
            await asyncio.sleep(0.2)


def print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def create_ssl_context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=AUTHORITY if AUTHORITY.exists() else None)


async def main(address: str, repository: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with httpx.AsyncClient(base_url=f"{address}/api", timeout=20, verify=create_ssl_context()) as client:
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
            "executor_id": next(executor["id"] for executor in executors if executor["name"] == "default"),
        }
        created = (await client.post("/admin/projects", json={"project": project})).raise_for_status().json()
        print_line("REPORT " + json.dumps(await Load(client, created["id"], stop).run()))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
