"""Client of the Docker Engine API over its Unix socket: images, containers, networks, execution.

Source: https://docs.docker.com/reference/api/engine/.
"""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx

from agent.executors.errors import PULL_FAILURE, ExecutorError

DEFAULT_SOCKET = "/var/run/docker.sock"
FRAME_HEADER_BYTES = 8  # header of each frame of output: stream type and length
POLL_SECONDS = 1.0  # interval of checks whether a program has exited, whose children may keep its output open
DRAIN_SECONDS = 0.2  # time in which the last output of a program arrives after its exit
EXIT_POLL_SECONDS = 0.02


class DockerError(ExecutorError):
    """A request to Docker failed."""


def socket_path(configured: str = "") -> str:
    """Return the path of the local Docker socket. A remote Docker engine could not mount the job's folder."""
    address = configured or os.environ.get("DOCKER_HOST", "") or DEFAULT_SOCKET
    return address.removeprefix("unix://")


def take_frames(buffer: bytearray) -> list[bytes]:
    """Remove complete frames from the buffer and return their contents.

    Docker sends stdout and stderr in frames over one connection.
    """
    frames = []
    while len(buffer) >= FRAME_HEADER_BYTES and len(buffer) >= (
        end := FRAME_HEADER_BYTES + int.from_bytes(buffer[4:FRAME_HEADER_BYTES])
    ):
        frames.append(bytes(buffer[FRAME_HEADER_BYTES:end]))
        del buffer[:end]
    return frames


async def _read_frames(response: httpx.Response) -> AsyncIterator[bytes]:
    buffer = bytearray()
    async for chunk in response.aiter_raw():
        buffer += chunk
        for chunk in take_frames(buffer):
            yield chunk


class DockerClient:
    """The operations on Docker that the agent needs. A failed request raises DockerError, except in `ping`.

    In `has_image`, `find_container`, `kill` and the `remove_` methods, a missing image, container or network is no
    failure.
    """

    def __init__(self, socket: str) -> None:
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=socket, limits=httpx.Limits(max_connections=None)),
            base_url="http://docker",
            timeout=httpx.Timeout(60, connect=5),
        )

    async def aclose(self) -> None:
        await self._http.aclose()

    async def ping(self) -> bool:
        """Return whether Docker responds."""
        try:
            return (await self._http.get("/_ping", timeout=5)).is_success
        except httpx.HTTPError:
            return False

    async def has_image(self, name: str) -> bool:
        return await self._request("GET", f"/images/{quote(name)}/json", missing_ok=True) is not None

    async def image_user(self, image: str) -> str:
        """Return the user that the image sets; "" means root."""
        image_details = await self._request("GET", f"/images/{quote(image)}/json")
        return str((image_details.get("Config") or {}).get("User") or "")

    async def pull(self, repository: str, tag: str, login: Mapping[str, str] | None) -> None:
        """Pull an image. `login`: `username`, `password` and `serveraddress`."""
        headers = {}
        if login:
            headers["X-Registry-Auth"] = base64.urlsafe_b64encode(json.dumps(dict(login)).encode()).decode()
        parameters = {"fromImage": repository, "tag": tag}
        try:
            async with self._http.stream(
                "POST", "/images/create", params=parameters, headers=headers, timeout=httpx.Timeout(None, connect=5)
            ) as response:
                async for line in response.aiter_lines():
                    progress = json.loads(line) if line.startswith("{") else {}
                    if message := progress.get("error") or (not response.is_success and progress.get("message")):
                        raise DockerError(f"image {repository} ({tag}) could not be pulled: {message}", PULL_FAILURE)
        except httpx.HTTPError as error:
            reason = f"{error or type(error).__name__}"
            raise DockerError(f"image {repository} ({tag}) could not be pulled: {reason}", PULL_FAILURE) from error

    async def create_network(self, name: str, labels: Mapping[str, str]) -> str:
        created = await self._request("POST", "/networks/create", {"Name": name, "Labels": dict(labels)})
        return str(created["Id"])

    async def create_container(self, name: str, description: Mapping[str, Any]) -> str:
        """Create a container from `description`, a request body of Docker's API. Return the container's id."""
        created = await self._request("POST", f"/containers/create?name={quote(name)}", description)
        return str(created["Id"])

    async def start_container(self, container: str) -> None:
        await self._request("POST", f"/containers/{container}/start")

    async def wait(self, container: str) -> int:
        return int((await self._request("POST", f"/containers/{container}/wait"))["StatusCode"])

    async def kill(self, container: str) -> None:
        """Kill the container if it runs."""
        await self._request("POST", f"/containers/{container}/kill", missing_ok=True)

    async def inspect(self, container: str) -> Any:
        return await self._request("GET", f"/containers/{container}/json")

    async def find_container(self, name: str) -> Any:
        """Return the `docker inspect` object of a container, or None."""
        return await self._request("GET", f"/containers/{quote(name)}/json", missing_ok=True)

    async def logs(self, container: str, *, since: float = 0, follow: bool = False) -> AsyncIterator[bytes]:
        """Yield the output of the container's main process so far or, with `follow`, until the process exits.

        `since`: Unix time in seconds.
        """
        parameters = f"stdout=1&stderr=1&since={since:.9f}" + "&follow=1" * follow
        try:
            async with self._http.stream(
                "GET", f"/containers/{container}/logs?{parameters}", timeout=httpx.Timeout(None, connect=5)
            ) as response:
                async for chunk in _read_frames(response):
                    yield chunk
        except httpx.HTTPError as error:
            raise DockerError(
                f"the connection to Docker was lost while reading a container's output: {error or type(error).__name__}"
            ) from error

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
        """Run a program in a container and return its exit status.

        The environment is not stored in the container's configuration.
        """
        request = {
            "AttachStdout": True,
            "AttachStderr": True,
            "Cmd": list(command),
            "Env": [f"{key}={value}" for key, value in (environment or {}).items()],
            "WorkingDir": cwd,
            "User": user,
        }
        execution = (await self._request("POST", f"/containers/{container}/exec", request))["Id"]
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
        # polled, because output can end before Docker knows the exit status, and there is no event to wait for
        while (status := await self._request("GET", f"/exec/{execution}/json"))["Running"]:  # noqa: ASYNC110
            await asyncio.sleep(EXIT_POLL_SECONDS)
        return 137 if status["ExitCode"] is None else int(status["ExitCode"])

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
                async for chunk in _read_frames(response):
                    output(chunk)
        except httpx.HTTPError as error:
            raise DockerError(f"the connection to Docker was lost: {error or type(error).__name__}") from error

    async def remove_container(self, container: str) -> None:
        await self._request("DELETE", f"/containers/{container}?force=1&v=1", missing_ok=True)

    async def remove_network(self, network: str) -> None:
        await self._request("DELETE", f"/networks/{network}", missing_ok=True)

    async def list_containers(self, label: str) -> list[Any]:
        filters = quote(json.dumps({"label": [label]}))
        return list(await self._request("GET", f"/containers/json?all=1&filters={filters}"))

    async def list_networks(self, label: str) -> list[Any]:
        filters = quote(json.dumps({"label": [label]}))
        return list(await self._request("GET", f"/networks?filters={filters}"))

    async def _request(self, method: str, path: str, body: object = None, *, missing_ok: bool = False) -> Any:
        """Send a request and return the decoded response. With `missing_ok`, status 404 and 409 give None.

        Raises DockerError.
        """
        try:
            response = await self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise DockerError(f"Docker does not respond: {error or type(error).__name__}") from error
        if missing_ok and response.status_code in (404, 409):
            return None
        if not response.is_success and response.status_code != 304:
            raise DockerError(_error_message(response.content))
        return response.json() if response.content else None


def _error_message(content: bytes) -> str:
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace").strip() or "Docker reported an error without a message"
