"""`headrace agent`: register, verify, run and unregister a build agent."""

import asyncio
import contextlib
import logging
import os
import platform
import secrets
import signal
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from agent import config as configuration
from agent import runner
from agent.config import Config, ConfigError
from agent.protocol import Protocol, Refused

app = typer.Typer(help="Run builds: register this machine as a build agent and serve.", no_args_is_help=True)

DEFAULT_CONFIG = Path("~/.config/headrace/agent.json")
DEFAULT_URL = "http://127.0.0.1:8080"
UNKNOWN = 403


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
    concurrency: int = 1,
    shell: str = "sh",
    builds_dir: Path | None = None,
) -> Config:
    """Make this machine known to the server and write what `run` needs."""
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{url!r} is no address: it must begin with http:// or https://")
    name = description or f"headrace-agent on {platform.node()}"
    settings = {
        "description": name,
        "tag_list": ",".join(tags),
        "run_untagged": not tags if run_untagged is None else run_untagged,
        "locked": locked,
        "paused": False,
    } | ({"maximum_timeout": maximum_timeout} if maximum_timeout > 0 else {})

    async def ask() -> Config:
        async with Protocol(url) as protocol:
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
        )

    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK):  # before the server makes a runner that nobody can use
        raise ConfigError(f"{path.parent} is not writable")
    config = asyncio.run(ask())
    configuration.save(path, config)
    return config


def verify(config: Config) -> bool:
    """Whether the server knows this agent."""

    async def ask() -> bool:
        async with Protocol(config.url) as protocol:
            try:
                await protocol.verify(config.token, config.system_id)
            except Refused as refused:
                if refused.status == UNKNOWN:
                    return False
                raise
        return True

    return asyncio.run(ask())


def unregister(config: Config, path: Path) -> None:
    """Take this agent off the server, then forget its token."""

    async def ask() -> None:
        async with Protocol(config.url) as protocol:
            await protocol.unregister(config.token)

    asyncio.run(ask())
    path.unlink(missing_ok=True)


def run(config: Config, *, once: bool = False) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends it without waiting for jobs."""

    async def serve() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        serving = asyncio.current_task()

        def on_signal() -> None:
            if stop.is_set() and serving is not None:
                serving.cancel()
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        with contextlib.suppress(asyncio.CancelledError):
            await runner.run(config, stop=stop, once=once)

    asyncio.run(serve())


ConfigOption = Annotated[
    Path, typer.Option("--config", envvar="HEADRACE_AGENT_CONFIG", help="The agent's file (mode 0600).")
]


def _fail(error: Exception) -> typer.Exit:
    typer.echo(f"Error: {error}", err=True)
    return typer.Exit(1)


def _loaded(path: Path) -> Config:
    try:
        return configuration.load(path.expanduser())
    except ConfigError as error:
        raise _fail(error) from error


@app.command("register")
def register_command(
    url: Annotated[str, typer.Option(envvar="HEADRACE_URL", help="Address of the server.")] = DEFAULT_URL,
    token: Annotated[
        str,
        typer.Option(
            envvar="HEADRACE_REGISTRATION_TOKEN",
            help="Registration token. Better in the environment: others can read a command line.",
        ),
    ] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    description: Annotated[str, typer.Option(help="How the server's lists show the agent.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="A tag; may be repeated.")] = None,
    run_untagged: Annotated[
        bool | None,
        typer.Option("--run-untagged/--no-run-untagged", help="Take jobs without tags (default: if it has no tags)."),
    ] = None,
    locked: Annotated[bool, typer.Option("--locked", help="Serve only the project of the registration.")] = False,
    maximum_timeout: Annotated[int, typer.Option(min=0, help="Longest job in seconds; 0 is no limit.")] = 0,
    concurrency: Annotated[int, typer.Option(min=1, help="Jobs at a time.")] = 1,
    shell: Annotated[str, typer.Option(help="Program that runs the scripts.")] = "sh",
    builds_dir: Annotated[Path | None, typer.Option(help="Where jobs work (default: beside the file).")] = None,
    if_missing: Annotated[bool, typer.Option("--if-missing", help="Do nothing if it is registered already.")] = False,
) -> None:
    """Register this machine as a build agent."""
    path = config.expanduser()
    try:
        if if_missing and path.exists() and verify(configuration.load(path)):
            typer.echo(f"Already registered: {path}")
            return
        if not token:
            raise ConfigError("a registration token is needed: set HEADRACE_REGISTRATION_TOKEN")
        made = register(
            url,
            token,
            path=path,
            description=description,
            tags=tuple(tag or ()),
            run_untagged=run_untagged,
            locked=locked,
            maximum_timeout=maximum_timeout,
            concurrency=concurrency,
            shell=shell,
            builds_dir=builds_dir,
        )
    except (Refused, ConfigError, OSError) as error:
        raise _fail(error) from error
    typer.echo(f"Registered as runner {made.id} ({made.name}); now: headrace agent run --config {path}")


@app.command("verify")
def verify_command(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Ask the server whether it knows this agent."""
    loaded = _loaded(config)
    try:
        known = verify(loaded)
    except Refused as error:
        raise _fail(error) from error
    if not known:
        raise _fail(ConfigError(f"{loaded.url} does not know runner {loaded.id}"))
    typer.echo(f"{loaded.url} knows runner {loaded.id} ({loaded.name})")


@app.command("unregister")
def unregister_command(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Take this agent off the server and delete its file."""
    loaded = _loaded(config)
    try:
        unregister(loaded, config.expanduser())
    except (Refused, OSError) as error:
        raise _fail(error) from error
    typer.echo(f"Runner {loaded.id} is gone")


@app.command("run")
def run_command(
    config: ConfigOption = DEFAULT_CONFIG,
    once: Annotated[bool, typer.Option("--once", help="Leave after one job.")] = False,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Jobs at a time (default: the file's).")] = None,
    grace: Annotated[float | None, typer.Option(min=0, help="Seconds for running jobs after SIGTERM.")] = None,
) -> None:
    """Ask the server for jobs and run them until SIGTERM or Ctrl-C."""
    loaded = _loaded(config)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line per request otherwise
    run(
        replace(
            loaded,
            concurrency=concurrency or loaded.concurrency,
            grace_seconds=loaded.grace_seconds if grace is None else grace,
        ),
        once=once,
    )
