"""Client of the Kubernetes API: the pods of one namespace, and programs in their containers.

It uses httpx and websockets instead of a generated client, because the agent needs only six requests. Source:
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/.
"""

import json
import os
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from agent.executors.errors import ExecutorError

ACCOUNT_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# frames begin with the number of a channel
EXEC_PROTOCOL = Subprotocol("v4.channel.k8s.io")
STDIN, STDOUT, STDERR, STATUS = range(4)
KILLED_EXIT_STATUS = 137


class KubernetesError(ExecutorError):
    """A request to the Kubernetes API failed."""


class KubernetesClient:
    def __init__(self, namespace: str, server: str) -> None:
        """Use the service account of the agent's pod. Raises KubernetesError if the pod has no account.

        The token is read for each request, because Kubernetes renews it.
        """
        self._path = f"/api/v1/namespaces/{quote(namespace)}/pods"
        self._server = server
        self._token_file = ACCOUNT_FOLDER / "token"
        try:
            self._ssl = ssl.create_default_context(cafile=ACCOUNT_FOLDER / "ca.crt")
            # CA certificates of clusters often lack the extensions that Python 3.13 requires by default
            self._ssl.verify_flags &= ~ssl.VERIFY_X509_STRICT
            self._token_file.read_bytes()
        except OSError as error:
            raise KubernetesError(
                f"the agent has no service account for the Kubernetes API: {ACCOUNT_FOLDER}: {error.strerror}"
            ) from error
        self._http = httpx.AsyncClient(base_url=server, verify=self._ssl, timeout=httpx.Timeout(60, connect=10))

    async def aclose(self) -> None:
        await self._http.aclose()

    async def create_pod(self, pod: Mapping[str, Any]) -> None:
        await self._request("POST", self._path, json=pod)

    async def get_pod(self, name: str) -> Any:
        return await self._request("GET", f"{self._path}/{name}")

    async def delete_pod(self, name: str) -> None:
        """Delete the pod without a grace period. A missing pod is no failure."""
        await self._request("DELETE", f"{self._path}/{name}?gracePeriodSeconds=0", missing_ok=True)

    async def list_pods(self, selector: str) -> list[Any]:
        return list((await self._request("GET", f"{self._path}?{urlencode({'labelSelector': selector})}"))["items"])

    async def read_log(self, pod: str, container: str, *, lines: int) -> bytes:
        parameters = urlencode({"container": container, "tailLines": lines})
        return (await self._send("GET", f"{self._path}/{pod}/log?{parameters}")).content

    async def execute(
        self,
        pod: str,
        container: str,
        command: Sequence[str],
        *,
        output: Callable[[bytes], None],
        errors: Callable[[bytes], None],
        stdin: AsyncIterator[bytes] | None = None,
    ) -> int:
        """Run a program in a container and return its exit status. The end of `stdin` is not sent.

        Raises KubernetesError if the program cannot be started or the connection is lost.
        """
        parameters = [("container", container), ("stdout", "1"), ("stderr", "1"), *(("command", w) for w in command)]
        parameters += [("stdin", "1")] if stdin else []
        url = f"{self._server.replace('http', 'ws', 1)}{self._path}/{pod}/exec?{urlencode(parameters)}"
        try:
            async with connect(
                url,
                ssl=self._ssl if url.startswith("wss:") else None,
                additional_headers=self._headers(),
                subprotocols=[EXEC_PROTOCOL],
                max_size=None,
                compression=None,
                open_timeout=30,
                proxy=None,
            ) as connection:
                if stdin:
                    async for chunk in stdin:
                        await connection.send(bytes([STDIN]) + chunk)
                return await _receive(connection, output, errors)
        except (WebSocketException, OSError) as error:
            raise KubernetesError(f"a program could not be run in the job's pod: {error}") from error

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token_file.read_text().strip()}"}

    async def _request(self, method: str, path: str, *, json: object = None, missing_ok: bool = False) -> Any:
        return (await self._send(method, path, json, missing_ok=missing_ok)).json()

    async def _send(self, method: str, path: str, json: object = None, *, missing_ok: bool = False) -> httpx.Response:
        try:
            response = await self._http.request(method, path, json=json, headers=self._headers())
        except (httpx.HTTPError, OSError) as error:
            raise KubernetesError(
                f"the Kubernetes API does not respond: {str(error) or type(error).__name__}"
            ) from error
        if response.is_success or (missing_ok and response.status_code == httpx.codes.NOT_FOUND):
            return response
        raise KubernetesError(f"the Kubernetes API refuses a request: {_error_message(response)}")


def _error_message(response: httpx.Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"


async def _receive(
    connection: ClientConnection, output: Callable[[bytes], None], errors: Callable[[bytes], None]
) -> int:
    async for frame in connection:
        content = frame if isinstance(frame, bytes) else frame.encode()
        match content[:1]:
            case b"\x01":
                output(content[1:])
            case b"\x02":
                errors(content[1:])
            case b"\x03":
                return _exit_status(json.loads(content[1:]))
    raise KubernetesError("the connection to the job's pod was lost")


def _exit_status(status: Mapping[str, Any]) -> int:
    if status.get("status") == "Success":
        return 0
    for cause in status.get("details", {}).get("causes", ()):
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise KubernetesError(f"a program could not be run in the job's pod: {status.get('message', 'unknown error')}")


def server_address(environment: Mapping[str, str] = os.environ) -> str:
    """Return the URL of the API server of the cluster in which the agent runs. Raises KubernetesError."""
    host, port = (environment.get(f"KUBERNETES_SERVICE_{part}", "") for part in ("HOST", "PORT_HTTPS"))
    if not host:
        raise KubernetesError("the executor kubernetes needs an agent that runs in a cluster")
    return f"https://[{host}]:{port or 443}" if ":" in host else f"https://{host}:{port or 443}"
