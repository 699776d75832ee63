"""The agent of the embedded stack. It is registered when the stack starts for the first time."""

import asyncio
import json
import logging
import os
import signal
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from agent import config, registration, runner
from agent.config import Config, ConfigError
from agent.protocol.client import ProtocolClient
from agent.protocol.responses import RequestFailed
from agent.telemetry import agent_telemetry
from infra.local.process import OperatorError
from libs.observability.health import Health, serve_health
from libs.security.tls import create_client_context
from libs.settings import Settings

UNKNOWN_RUNNER_STATUS = 403
JOB_SHUTDOWN_SECONDS = 2.0  # time for running jobs when the stack stops; the whole stack has 10 seconds


def register_local_agent() -> None:
    settings = Settings.from_environment(os.environ)
    login = {"auth": {"username": settings.admin_username, "password": settings.admin_password}}
    jwt = _call_api(settings, "POST", "/api/auth/token", {}, login)["access_token"]
    info = _call_api(settings, "GET", "/api/admin/runners/registration-info", {"Authorization": f"token {jwt}"})
    try:
        slots = max(2, os.cpu_count() or 2)
        token, ca_file = info["registrationToken"], settings.ca_file
        registration.register(
            settings.url, token, path=_config_path(), executor="shell", concurrency=slots, ca_file=ca_file
        )
    except (RequestFailed, ConfigError) as error:
        raise OperatorError(f"The local agent could not be registered: {error}.") from error


def run_local_agent() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # silences the message about each request
    settings = Settings.from_environment(os.environ)
    try:
        # The file has the URL of the first start, which may have changed since.
        loaded = replace(
            config.load(_config_path())[0],
            url=settings.url,
            grace_seconds=JOB_SHUTDOWN_SECONDS,
            ca_file=str(settings.ca_file or ""),
        )
        runner.check_isolation(_config_path(), loaded)
        with agent_telemetry(loaded.system_id) as registry:
            asyncio.run(_serve(loaded, settings.health_port, registry))
    except ConfigError as error:
        raise OperatorError(f"{error}.") from error


async def _serve(loaded: Config, health_port: int, registry: CollectorRegistry) -> None:
    """Run the agent. Its health port reports ready once the server has verified the agent's token."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with ProtocolClient(loaded.url, ca_file=loaded.ca_file) as protocol:
        try:
            await protocol.verify(loaded.token, loaded.system_id)
        except RequestFailed as refused:
            if refused.status != UNKNOWN_RUNNER_STATUS:
                raise OperatorError(f"The agent cannot start: {refused}.") from refused
            raise OperatorError(
                f"The server does not know the agent. Delete {_config_path()} to register it again."
            ) from refused
    async with serve_health(Health(), registry, "127.0.0.1", health_port):
        await runner.run(loaded, stop=stop)


def _config_path() -> Path:
    return Path(os.environ["HEADRACE_AGENT_CONFIG"])


def _call_api(settings: Settings, method: str, path: str, headers: dict[str, str], body: object = None) -> Any:
    url = f"{settings.url}{path}"
    request = urllib.request.Request(  # noqa: S310
        url,
        method=method,
        headers=headers | {"Content-Type": "application/json", "Accept": "application/json"},
        data=None if body is None else json.dumps(body).encode(),
    )
    try:
        with urllib.request.urlopen(request, timeout=20, context=create_client_context(settings.ca_file)) as answer:  # noqa: S310
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            if error.code in {401, 403}:
                raise OperatorError(
                    "The local agent could not be registered, because the administrator's login was rejected. "
                    "Set HEADRACE_ADMIN_USERNAME and HEADRACE_ADMIN_PASSWORD to those of an administrator."
                ) from error
            detail = error.read(2000).decode(errors="replace")
        raise OperatorError(
            f"The local agent could not be registered: {method} {url} returned {error.code} {detail}"
        ) from error
    except (OSError, ValueError) as error:
        raise OperatorError(f"The local agent could not be registered: {method} {url} failed ({error}).") from error
