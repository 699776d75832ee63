"""Makes this machine known to a server as a runner, asks whether it is, and takes it off again."""

import asyncio
import os
import platform
import secrets
from pathlib import Path

from agent import config as configuration
from agent.config import Config, ConfigError
from agent.protocol.client import ProtocolClient, RequestFailed

UNKNOWN_TOKEN_STATUS = 403


def register(
    url: str,
    token: str,
    *,
    path: Path,
    description: str = "",
    tags: tuple[str, ...] = (),
    run_untagged: bool | None = None,
    locked: bool = False,
    maximum_timeout: int = 0,
    paused: bool = False,
    protected: bool = False,
    concurrency: int = 1,
    shell: str = "",
    executor: str = "shell",
    builds_dir: Path | None = None,
    ca_file: Path | None = None,
    retry_seconds: float = 0.0,
) -> Config:
    """Make this machine known to the server and add what `run` needs to the file.

    `patience`: seconds for which a server that does not answer is waited for.
    """
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{url!r} is no address: it must begin with http:// or https://")
    name = description or f"headrace-agent on {platform.node()}"
    settings = {
        "description": name,
        "tag_list": ",".join(tags),
        "run_untagged": not tags if run_untagged is None else run_untagged,
        "locked": locked,
        "paused": paused,
        "access_level": "ref_protected" if protected else "not_protected",
    } | ({"maximum_timeout": maximum_timeout} if maximum_timeout > 0 else {})

    trusted = str(ca_file.expanduser().absolute()) if ca_file else ""

    async def ask() -> Config:
        async with ProtocolClient(url, executor, trusted, retry_seconds) as protocol:
            identity = await protocol.register(token, **settings)
        return Config(
            url=url,
            token=identity.token,
            id=identity.id,
            name=name,
            system_id=f"s_{secrets.token_hex(6)}",
            builds_dir=str((builds_dir or path.parent / "builds").absolute()),
            concurrency=concurrency,
            shell=shell,
            executor=executor,
            ca_file=trusted,
        )

    known = configuration.load(path) if path.exists() else ()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK):  # before the server makes a runner that nobody can use
        raise ConfigError(f"{path.parent} is not writable")
    config = asyncio.run(ask())
    configuration.save(path, *known, config)
    return config


def verify(config: Config, retry_seconds: float = 0.0) -> bool:
    """Whether the server knows this agent."""

    async def ask() -> bool:
        async with ProtocolClient(config.url, config.executor, config.ca_file, retry_seconds) as protocol:
            try:
                await protocol.verify(config.token, config.system_id)
            except RequestFailed as refused:
                if refused.status == UNKNOWN_TOKEN_STATUS:
                    return False
                raise
        return True

    return asyncio.run(ask())


def unregister(config: Config, path: Path) -> None:
    """Take this runner off the server, then forget its token."""

    async def ask() -> None:
        async with ProtocolClient(config.url, ca_file=config.ca_file) as protocol:
            await protocol.unregister(config.token)

    try:
        asyncio.run(ask())
    except RequestFailed as refused:
        if refused.status != UNKNOWN_TOKEN_STATUS:  # what the server knows no more is gone already
            raise
    configuration.save(path, *(each for each in configuration.load(path) if each != config))
