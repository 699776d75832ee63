"""The Docker engine over its own socket: images, containers and networks, and nothing of it on a command line."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx

DEFAULT_SOCKET = "/var/run/docker.sock"
HEADER = 8  # bytes before each piece of output: which stream, and the length
LOOK_AGAIN = 1.0  # whether a program is over whose children keep its output open
REST = 0.2  # what such a program wrote last needs so long to arrive
PULL = "image_pull_failure"
SYSTEM = "runner_system_failure"


class EngineError(Exception):
    """The engine did not do what it was asked for; the text says why."""

    def __init__(self, detail: str, reason: str = SYSTEM) -> None:
        super().__init__(detail)
        self.reason = reason


def socket_path(configured: str = "") -> str:
    """The engine of this machine: it must see the folder of the job, so no other will do."""
    address = configured or os.environ.get("DOCKER_HOST", "") or DEFAULT_SOCKET
    return address.removeprefix("unix://")


def pieces_of(buffer: bytearray) -> list[bytes]:
    """Takes what is complete out of the buffer: the engine sends both outputs through one stream."""
    found = []
    while len(buffer) >= HEADER and len(buffer) >= (end := HEADER + int.from_bytes(buffer[4:HEADER])):
        found.append(bytes(buffer[HEADER:end]))
        del buffer[:end]
    return found


async def _outputs(response: httpx.Response) -> AsyncIterator[bytes]:
    buffer = bytearray()
    async for chunk in response.aiter_raw():
        buffer += chunk
        for piece in pieces_of(buffer):
            yield piece


class Engine:
    def __init__(self, socket: str) -> None:
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=socket, limits=httpx.Limits(max_connections=None)),
            base_url="http://docker",
            timeout=httpx.Timeout(60, connect=5),
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def answers(self) -> bool:
        try:
            return (await self._client.get("/_ping", timeout=5)).is_success
        except httpx.HTTPError:
            return False

    async def has_image(self, name: str) -> bool:
        return await self._ask("GET", f"/images/{quote(name)}/json", missing=True) is not None

    async def user_of(self, image: str) -> str:
        described = await self._ask("GET", f"/images/{quote(image)}/json")
        return str((described.get("Config") or {}).get("User") or "")

    async def pull(self, repository: str, tag: str, login: Mapping[str, str] | None) -> None:
        headers = {}
        if login:
            headers["X-Registry-Auth"] = base64.urlsafe_b64encode(json.dumps(dict(login)).encode()).decode()
        parameters = {"fromImage": repository, "tag": tag}
        try:
            async with self._client.stream(
                "POST", "/images/create", params=parameters, headers=headers, timeout=httpx.Timeout(None, connect=5)
            ) as response:
                async for line in response.aiter_lines():
                    told = json.loads(line) if line.startswith("{") else {}
                    if failed := told.get("error") or (not response.is_success and told.get("message")):
                        raise EngineError(f"image {repository} ({tag}) could not be pulled: {failed}", PULL)
        except httpx.HTTPError as error:
            why = f"{error or type(error).__name__}"
            raise EngineError(f"image {repository} ({tag}) could not be pulled: {why}", PULL) from error

    async def create_network(self, name: str, labels: Mapping[str, str]) -> str:
        created = await self._ask("POST", "/networks/create", {"Name": name, "Labels": dict(labels)})
        return str(created["Id"])

    async def create(self, name: str, description: Mapping[str, Any]) -> str:
        created = await self._ask("POST", f"/containers/create?name={quote(name)}", description)
        return str(created["Id"])

    async def start(self, container: str) -> None:
        await self._ask("POST", f"/containers/{container}/start")

    async def wait(self, container: str) -> int:
        """The exit status of what ends by itself."""
        return int((await self._ask("POST", f"/containers/{container}/wait"))["StatusCode"])

    async def kill(self, container: str) -> None:
        """Of one that is not running, too."""
        await self._ask("POST", f"/containers/{container}/kill", missing=True)

    async def inspect(self, container: str) -> Any:
        return await self._ask("GET", f"/containers/{container}/json")

    async def logs(self, container: str, *, since: float = 0, follow: bool = False) -> AsyncIterator[bytes]:
        """What the container itself printed; to its end, or as long as it runs."""
        parameters = f"stdout=1&stderr=1&since={since:.9f}" + "&follow=1" * follow
        try:
            async with self._client.stream(
                "GET", f"/containers/{container}/logs?{parameters}", timeout=httpx.Timeout(None, connect=5)
            ) as response:
                async for piece in _outputs(response):
                    yield piece
        except httpx.HTTPError as error:
            raise EngineError(f"the output of a container was lost: {error or type(error).__name__}") from error

    async def execute(
        self,
        container: str,
        command: Sequence[str],
        output: Callable[[bytes], None],
        *,
        environment: Mapping[str, str] | None = None,
        cwd: str = "/",
        user: str = "",
    ) -> int:
        """Run a program in a container to its end; the environment goes through the socket and into no file."""
        wished = {
            "AttachStdout": True,
            "AttachStderr": True,
            "Cmd": list(command),
            "Env": [f"{key}={value}" for key, value in (environment or {}).items()],
            "WorkingDir": cwd,
            "User": user,
        }
        execution = (await self._ask("POST", f"/containers/{container}/exec", wished))["Id"]
        reading = asyncio.create_task(self._read(execution, output))
        try:
            while not (await asyncio.wait([reading], timeout=LOOK_AGAIN))[0]:
                if not (await self._ask("GET", f"/exec/{execution}/json"))["Running"]:
                    await asyncio.wait([reading], timeout=REST)
                    break
            if reading.done():
                await reading
        finally:
            reading.cancel()
            await asyncio.wait([reading])
        while (told := await self._ask("GET", f"/exec/{execution}/json"))["Running"]:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)
        return 137 if told["ExitCode"] is None else int(told["ExitCode"])

    async def _read(self, execution: str, output: Callable[[bytes], None]) -> None:
        try:
            async with self._client.stream(
                "POST",
                f"/exec/{execution}/start",
                json={"Detach": False, "Tty": False},
                timeout=httpx.Timeout(None, connect=5),
            ) as response:
                if not response.is_success:
                    raise EngineError(_said(await response.aread()))
                async for piece in _outputs(response):
                    output(piece)
        except httpx.HTTPError as error:
            raise EngineError(f"the Docker engine went away: {error or type(error).__name__}") from error

    async def remove(self, container: str) -> None:
        """With the volumes that its image made."""
        await self._ask("DELETE", f"/containers/{container}?force=1&v=1", missing=True)

    async def remove_network(self, network: str) -> None:
        await self._ask("DELETE", f"/networks/{network}", missing=True)

    async def containers(self, label: str) -> list[Any]:
        chosen = quote(json.dumps({"label": [label]}))
        return list(await self._ask("GET", f"/containers/json?all=1&filters={chosen}"))

    async def networks(self, label: str) -> list[Any]:
        chosen = quote(json.dumps({"label": [label]}))
        return list(await self._ask("GET", f"/networks?filters={chosen}"))

    async def _ask(self, method: str, path: str, body: object = None, *, missing: bool = False) -> Any:
        """The engine's answer; None where what it is about may be `missing`, or already is as wished."""
        try:
            response = await self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise EngineError(f"the Docker engine does not answer: {error or type(error).__name__}") from error
        if missing and response.status_code in (404, 409):
            return None
        if not response.is_success and response.status_code != 304:
            raise EngineError(_said(response.content))
        return response.json() if response.content else None


def _said(content: bytes) -> str:
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace").strip() or "the Docker engine gave no reason"
