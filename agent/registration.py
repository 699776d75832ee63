"""Registration of this machine at a server as a runner: creation, verification and removal."""

import asyncio
import os
import platform
import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from agent import config as configuration
from agent.config import Config, ConfigError
from agent.protocol.client import ProtocolClient
from agent.protocol.responses import RequestFailed, RunnerIdentity

UNKNOWN_TOKEN_STATUS = 403


def register(
    url: str,
    token: str,
    *,
    path: Path,
    executor: str,
    description: str = "",
    tags: tuple[str, ...] = (),
    run_untagged: bool | None = None,
    locked: bool = False,
    maximum_timeout: int = 0,
    paused: bool = False,
    protected: bool = False,
    concurrency: int = 1,
    shell: str = "",
    builds_dir: Path | None = None,
    ca_file: Path | None = None,
    retry_seconds: float = 0.0,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> Config:
    """Register a runner at the server and add it to the configuration file. Return the runner's configuration.

    `settings`: further settings, in the form of the configuration file. `retry_seconds`: how long to retry while the
    server is unreachable. Raises RequestFailed, ConfigError, CertificateError, OSError.
    """
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{url!r} is not a valid URL: it must begin with http:// or https://")
    name = description or f"headrace-agent on {platform.node()}"
    attributes = {
        "description": name,
        "tag_list": ",".join(tags),
        "run_untagged": not tags if run_untagged is None else run_untagged,
        "locked": locked,
        "paused": paused,
        "access_level": "ref_protected" if protected else "not_protected",
    } | ({"maximum_timeout": maximum_timeout} if maximum_timeout > 0 else {})

    trusted_ca_file = str(ca_file.expanduser().absolute()) if ca_file else ""

    own = {
        "url": url,
        "name": name,
        "system_id": f"s_{secrets.token_hex(6)}",
        "builds_dir": str((builds_dir or path.parent / "builds").absolute()),
        "concurrency": concurrency,
        "shell": shell,
        "executor": executor,
        "ca_file": trusted_ca_file,
    }

    async def send() -> RunnerIdentity:
        async with ProtocolClient(url, executor, trusted_ca_file, retry_seconds) as protocol:
            return await protocol.register(token, **attributes)

    try:  # checked before the server creates a runner
        unregistered = Config.from_json({**settings, **own, "token": "", "id": 0})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"invalid settings: {error}") from error
    existing = configuration.load(path) if path.exists() else ()
    path.parent.mkdir(parents=True, exist_ok=True)
    # checked first, because the server would create a runner whose token cannot be saved
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"{path.parent} is not writable")
    identity = asyncio.run(send())
    config = replace(unregistered, token=identity.token, id=identity.id)
    configuration.save(path, *existing, config)
    return config


def verify(config: Config, retry_seconds: float = 0.0) -> bool:
    """Return whether the server knows this runner. Raises RequestFailed and CertificateError."""

    async def send() -> bool:
        async with ProtocolClient(config.url, config.executor, config.ca_file, retry_seconds) as protocol:
            try:
                await protocol.verify(config.token, config.system_id)
            except RequestFailed as failure:
                if failure.status == UNKNOWN_TOKEN_STATUS:
                    return False
                raise
        return True

    return asyncio.run(send())


def unregister(config: Config, path: Path) -> None:
    """Delete the runner at the server, then remove it from the configuration file.

    Raises RequestFailed, CertificateError, ConfigError, OSError.
    """

    async def send() -> None:
        async with ProtocolClient(config.url, ca_file=config.ca_file) as protocol:
            await protocol.unregister(config.token)

    try:
        asyncio.run(send())
    except RequestFailed as failure:
        if failure.status != UNKNOWN_TOKEN_STATUS:  # a runner unknown to the server is already deleted
            raise
    configuration.save(path, *(runner for runner in configuration.load(path) if runner != config))
