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
FRAME_HEADER_BYTES = 8  # bytes before each piece of output: which stream, and the length
POLL_SECONDS = 1.0  # whether a program is over whose children keep its output open
DRAIN_SECONDS = 0.2  # what such a program wrote last needs so long to arrive
PULL_FAILURE = "image_pull_failure"
SYSTEM_FAILURE = "runner_system_failure"


class DockerError(Exception):
    """The engine did not do what it was asked for; the text says why."""

    def __init__(self, detail: str, reason: str = SYSTEM_FAILURE) -> None:
        super().__init__(detail)
        self.reason = reason


def socket_path(configured: str = "") -> str:
    """The engine of this machine: it must see the folder of the job, so no other will do."""
    address = configured or os.environ.get("DOCKER_HOST", "") or DEFAULT_SOCKET
    return address.removeprefix("unix://")


def take_frames(buffer: bytearray) -> list[bytes]:
    """Takes what is complete out of the buffer: the engine sends both outputs through one stream."""
    found = []
    while len(buffer) >= FRAME_HEADER_BYTES and len(buffer) >= (
        end := FRAME_HEADER_BYTES + int.from_bytes(buffer[4:FRAME_HEADER_BYTES])
    ):
        found.append(bytes(buffer[FRAME_HEADER_BYTES:end]))
        del buffer[:end]
    return found


async def _read_frames(response: httpx.Response) -> AsyncIterator[bytes]:
    buffer = bytearray()
    async for chunk in response.aiter_raw():
        buffer += chunk
        for piece in take_frames(buffer):
            yield piece


class DockerClient:
    def __init__(self, socket: str) -> None:
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=socket, limits=httpx.Limits(max_connections=None)),
            base_url="http://docker",
            timeout=httpx.Timeout(60, connect=5),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def ping(self) -> bool:
        try:
            return (await self._http.get("/_ping", timeout=5)).is_success
        except httpx.HTTPError:
            return False

    async def has_image(self, name: str) -> bool:
        return await self._request("GET", f"/images/{quote(name)}/json", missing_ok=True) is not None

    async def image_user(self, image: str) -> str:
        described = await self._request("GET", f"/images/{quote(image)}/json")
        return str((described.get("Config") or {}).get("User") or "")

    async def pull(self, repository: str, tag: str, login: Mapping[str, str] | None) -> None:
        headers = {}
        if login:
            headers["X-Registry-Auth"] = base64.urlsafe_b64encode(json.dumps(dict(login)).encode()).decode()
        parameters = {"fromImage": repository, "tag": tag}
        try:
            async with self._http.stream(
                "POST", "/images/create", params=parameters, headers=headers, timeout=httpx.Timeout(None, connect=5)
            ) as response:
                async for line in response.aiter_lines():
                    told = json.loads(line) if line.startswith("{") else {}
                    if failed := told.get("error") or (not response.is_success and told.get("message")):
                        raise DockerError(f"image {repository} ({tag}) could not be pulled: {failed}", PULL_FAILURE)
        except httpx.HTTPError as error:
            why = f"{error or type(error).__name__}"
            raise DockerError(f"image {repository} ({tag}) could not be pulled: {why}", PULL_FAILURE) from error

    async def create_network(self, name: str, labels: Mapping[str, str]) -> str:
        created = await self._request("POST", "/networks/create", {"Name": name, "Labels": dict(labels)})
        return str(created["Id"])

    async def create_container(self, name: str, description: Mapping[str, Any]) -> str:
        created = await self._request("POST", f"/containers/create?name={quote(name)}", description)
        return str(created["Id"])

    async def start_container(self, container: str) -> None:
        await self._request("POST", f"/containers/{container}/start")

    async def wait(self, container: str) -> int:
        """The exit status of what ends by itself."""
        return int((await self._request("POST", f"/containers/{container}/wait"))["StatusCode"])

    async def kill(self, container: str) -> None:
        """Of one that is not running, too."""
        await self._request("POST", f"/containers/{container}/kill", missing_ok=True)

    async def inspect(self, container: str) -> Any:
        return await self._request("GET", f"/containers/{container}/json")

    async def logs(self, container: str, *, since: float = 0, follow: bool = False) -> AsyncIterator[bytes]:
        """What the container itself printed; to its end, or as long as it runs."""
        parameters = f"stdout=1&stderr=1&since={since:.9f}" + "&follow=1" * follow
        try:
            async with self._http.stream(
                "GET", f"/containers/{container}/logs?{parameters}", timeout=httpx.Timeout(None, connect=5)
            ) as response:
                async for piece in _read_frames(response):
                    yield piece
        except httpx.HTTPError as error:
            raise DockerError(f"the output of a container was lost: {error or type(error).__name__}") from error

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
        execution = (await self._request("POST", f"/containers/{container}/exec", wished))["Id"]
        reading = asyncio.create_task(self._read_output(execution, output))
        try:
            while not (await asyncio.wait([reading], timeout=POLL_SECONDS))[0]:
                if not (await self._request("GET", f"/exec/{execution}/json"))["Running"]:
                    await asyncio.wait([reading], timeout=DRAIN_SECONDS)
                    break
            if reading.done():
                await reading
        finally:
            reading.cancel()
            await asyncio.wait([reading])
        while (told := await self._request("GET", f"/exec/{execution}/json"))["Running"]:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)
        return 137 if told["ExitCode"] is None else int(told["ExitCode"])

    async def _read_output(self, execution: str, output: Callable[[bytes], None]) -> None:
        try:
            async with self._http.stream(
                "POST",
                f"/exec/{execution}/start",
                json={"Detach": False, "Tty": False},
                timeout=httpx.Timeout(None, connect=5),
            ) as response:
                if not response.is_success:
                    raise DockerError(_error_message(await response.aread()))
                async for piece in _read_frames(response):
                    output(piece)
        except httpx.HTTPError as error:
            raise DockerError(f"the Docker engine went away: {error or type(error).__name__}") from error

    async def remove_container(self, container: str) -> None:
        """With the volumes that its image made."""
        await self._request("DELETE", f"/containers/{container}?force=1&v=1", missing_ok=True)

    async def remove_network(self, network: str) -> None:
        await self._request("DELETE", f"/networks/{network}", missing_ok=True)

    async def list_containers(self, label: str) -> list[Any]:
        chosen = quote(json.dumps({"label": [label]}))
        return list(await self._request("GET", f"/containers/json?all=1&filters={chosen}"))

    async def list_networks(self, label: str) -> list[Any]:
        chosen = quote(json.dumps({"label": [label]}))
        return list(await self._request("GET", f"/networks?filters={chosen}"))

    async def _request(self, method: str, path: str, body: object = None, *, missing_ok: bool = False) -> Any:
        """The engine's answer; None where what it is about may be `missing`, or already is as wished."""
        try:
            response = await self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise DockerError(f"the Docker engine does not answer: {error or type(error).__name__}") from error
        if missing_ok and response.status_code in (404, 409):
            return None
        if not response.is_success and response.status_code != 304:
            raise DockerError(_error_message(response.content))
        return response.json() if response.content else None


def _error_message(content: bytes) -> str:
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace").strip() or "the Docker engine gave no reason"
