"""`headrace agent`: register, verify, run and unregister a build agent."""

import asyncio
import contextlib
import logging
import os
import signal
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from prometheus_client import CollectorRegistry

from agent import config as configuration
from agent import runner
from agent.config import Config, ConfigError
from agent.protocol.client import RequestFailed
from agent.registration import UNKNOWN_TOKEN_STATUS, register, unregister, verify
from agent.telemetry import agent_telemetry
from libs.observability.health import Health, serve_health
from libs.settings import SettingsError, resolve_secret_files

app = typer.Typer(help="Run builds: register this machine as a build agent and serve.", no_args_is_help=True)

DEFAULT_CONFIG = Path("~/.config/headrace/agent.json")
DEFAULT_URL = "http://127.0.0.1:8080"


def serve_runners(
    *runners: Config, once: bool = False, ephemeral: bool = False, health: tuple[str, int] | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends it without waiting for jobs. `health`: where probes ask."""

    async def serve(registry: CollectorRegistry) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        serving = asyncio.current_task()

        def on_signal() -> None:
            if stop.is_set() and serving is not None:
                serving.cancel()
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        probed = serve_health(Health(), registry, *health) if health else contextlib.nullcontext()
        with contextlib.suppress(asyncio.CancelledError):
            async with probed, asyncio.TaskGroup() as group:
                for config in runners:
                    group.create_task(one(config, stop))

    async def one(config: Config, stop: asyncio.Event) -> None:
        await runner.run(config, stop=stop, once=once, ephemeral=ephemeral)
        stop.set()  # with --once, the first job of all is the last

    with agent_telemetry(runners[0].system_id) as registry:
        asyncio.run(serve(registry))


ConfigOption = Annotated[
    Path, typer.Option("--config", envvar="HEADRACE_AGENT_CONFIG", help="The agent's file (mode 0600).")
]
RunnerOption = Annotated[int | None, typer.Option("--runner", help="Number of one runner of the file (see list).")]


class ExecutorChoice(StrEnum):
    auto = "auto"
    shell = "shell"
    docker = "docker"


def _exit_with_error(error: Exception) -> typer.Exit:
    typer.echo(f"Error: {error}", err=True)
    return typer.Exit(1)


def _load_runners(path: Path, only: int | None = None) -> tuple[Config, ...]:
    try:
        runners = configuration.load(path.expanduser())
        chosen = tuple(each for each in runners if only in (None, each.id))
        if not chosen:
            raise ConfigError(f"{path} holds no runner {only}; it holds {_format_ids(runners)}")
    except ConfigError as error:
        raise _exit_with_error(error) from error
    return chosen


def _format_ids(runners: tuple[Config, ...]) -> str:
    return ", ".join(str(each.id) for each in runners)


@app.command("register")
def register_command(
    url: Annotated[str, typer.Option(envvar="HEADRACE_URL", help="Address of the server.")] = DEFAULT_URL,
    token: Annotated[
        str,
        typer.Option(
            help="Registration token. Better in HEADRACE_REGISTRATION_TOKEN, or in the file that "
            "HEADRACE_REGISTRATION_TOKEN_FILE names: others can read a command line.",
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
    paused: Annotated[bool, typer.Option("--paused", help="Get no jobs before somebody switches it on.")] = False,
    protected: Annotated[bool, typer.Option("--protected", help="Only jobs of protected branches.")] = False,
    concurrency: Annotated[int, typer.Option(min=1, help="Jobs at a time.")] = 1,
    executor: Annotated[
        ExecutorChoice,
        typer.Option(
            help="shell: all jobs in a shell of this machine. docker: all in containers. "
            "auto: in a container if the job names an image and a Docker engine answers, else in the shell."
        ),
    ] = ExecutorChoice.auto,
    shell: Annotated[str, typer.Option(help="Program that runs the scripts (default: bash, or else sh).")] = "",
    builds_dir: Annotated[Path | None, typer.Option(help="Where jobs work (default: beside the file).")] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(envvar="HEADRACE_CA_FILE", help="Authorities that sign the server (default: the system's)."),
    ] = None,
    wait: Annotated[
        float,
        typer.Option(envvar="HEADRACE_WAIT_SECONDS", min=0, help="Seconds to wait for a server that does not answer."),
    ] = 120.0,
    if_missing: Annotated[
        bool, typer.Option("--if-missing", help="Do nothing if it is registered there already.")
    ] = False,
) -> None:
    """Register this machine as a build agent. More than one runner may stand in one file; `run` serves them all.

    How containers are made (limits, user, volumes, pull policy, logins of registries) is edited in the file.
    """
    path = config.expanduser()
    try:
        if if_missing and path.exists():
            known = [each for each in configuration.load(path) if each.url == url and verify(each, wait)]
            if known:
                typer.echo(f"Already registered: {path}")
                return
        token = token or resolve_secret_files(os.environ).get("HEADRACE_REGISTRATION_TOKEN", "")
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
            paused=paused,
            protected=protected,
            concurrency=concurrency,
            executor=executor.value,
            shell=shell,
            builds_dir=builds_dir,
            ca_file=ca_file,
            retry_seconds=wait,
        )
    except RequestFailed as error:
        refused = ConfigError(f"{url} does not accept this registration token")
        raise _exit_with_error(refused if error.status == UNKNOWN_TOKEN_STATUS else error) from error
    except (ConfigError, SettingsError, OSError) as error:
        raise _exit_with_error(error) from error
    typer.echo(f"Registered as runner {made.id} ({made.name}); now: headrace agent run --config {path}")


@app.command("list")
def list_command(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Show the runners of the file."""
    for each in _load_runners(config):
        typer.echo(f"{each.id}\t{each.url}\t{each.executor}\t{each.concurrency} at a time\t{each.name}")


@app.command("verify")
def verify_command(config: ConfigOption = DEFAULT_CONFIG, only: RunnerOption = None) -> None:
    """Ask the server whether it knows the runners of the file."""
    unknown = []
    try:
        for each in _load_runners(config, only):
            if verify(each):
                typer.echo(f"{each.url} knows runner {each.id} ({each.name})")
            else:
                unknown.append(f"{each.url} does not know runner {each.id}")
    except (RequestFailed, SettingsError) as error:
        raise _exit_with_error(error) from error
    if unknown:
        raise _exit_with_error(ConfigError("; ".join(unknown)))


@app.command("unregister")
def unregister_command(
    config: ConfigOption = DEFAULT_CONFIG,
    only: RunnerOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All runners of the file.")] = False,
) -> None:
    """Take a runner off the server and out of the file; the file goes with its last runner."""
    chosen = _load_runners(config, only)
    if len(chosen) > 1 and not everything:
        raise _exit_with_error(
            ConfigError(f"{config} holds the runners {_format_ids(chosen)}: choose with --runner, or --all")
        )
    _unregister_all(config, chosen)


def _unregister_all(config: Path, runners: tuple[Config, ...]) -> None:
    try:
        for each in runners:
            unregister(each, config.expanduser())
            typer.echo(f"Runner {each.id} is gone")
    except (RequestFailed, ConfigError, SettingsError, OSError) as error:
        raise _exit_with_error(error) from error


@app.command("run")
def run_command(
    config: ConfigOption = DEFAULT_CONFIG,
    only: RunnerOption = None,
    once: Annotated[bool, typer.Option("--once", help="Leave after one job.")] = False,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Jobs of each runner at a time (default: the file's).")
    ] = None,
    grace: Annotated[float | None, typer.Option(min=0, help="Seconds for running jobs after SIGTERM.")] = None,
    ephemeral: Annotated[
        bool, typer.Option("--ephemeral", help="Unregister in the end: for machines and containers that come and go.")
    ] = False,
    host: Annotated[str, typer.Option(envvar="HEADRACE_HOST", help="Where probes may ask.")] = "127.0.0.1",
    health_port: Annotated[
        int, typer.Option(envvar="HEADRACE_HEALTH_PORT", min=0, help="Of /healthz and /readyz; 0 (default) is none.")
    ] = 0,
) -> None:
    """Ask the server for jobs and run them until SIGTERM or Ctrl-C.

    The first signal: no new jobs, and those that run may end within the grace. The second ends them at once.
    """
    loaded = _load_runners(config, only)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line per request otherwise
    serve_runners(
        *(
            replace(
                each,
                concurrency=concurrency or each.concurrency,
                grace_seconds=each.grace_seconds if grace is None else grace,
            )
            for each in loaded
        ),
        once=once,
        ephemeral=ephemeral,
        health=(host, health_port) if health_port else None,
    )
    if ephemeral:
        _unregister_all(config, loaded)
