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
from agent.config import Config, ConfigError
from agent.protocol.responses import RequestFailed
from agent.registration import UNKNOWN_TOKEN_STATUS, register, unregister, verify
from agent.runner import check_isolation
from agent.runner import run as run_runner
from agent.telemetry import agent_telemetry
from libs.observability.health import Health, serve_health
from libs.settings import SettingsError, resolve_secret_files

app = typer.Typer(help="Run builds on this machine as a build agent.", no_args_is_help=True)

DEFAULT_CONFIG = Path("~/.config/headrace/agent.json")
DEFAULT_URL = "http://127.0.0.1:8080"


def serve_runners(
    *runners: Config, once: bool = False, ephemeral: bool = False, health: tuple[str, int] | None = None
) -> None:
    """Run jobs for the runners until SIGTERM or SIGINT. A second signal exits without waiting for jobs.

    `once`: return after one job. `health`: host and port of the health endpoint.
    """

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
        health_server = serve_health(Health(), registry, *health) if health else contextlib.nullcontext()
        with contextlib.suppress(asyncio.CancelledError):
            async with health_server, asyncio.TaskGroup() as group:
                for config in runners:
                    group.create_task(serve_one(config, stop))

    async def serve_one(config: Config, stop: asyncio.Event) -> None:
        await run_runner(config, stop=stop, once=once, ephemeral=ephemeral)
        stop.set()  # with --once, the first finished job stops all runners

    with agent_telemetry(runners[0].system_id) as registry:
        asyncio.run(serve(registry))


ConfigOption = Annotated[
    Path, typer.Option("--config", envvar="HEADRACE_AGENT_CONFIG", help="The agent's configuration file (mode 0600).")
]
RunnerOption = Annotated[int | None, typer.Option("--runner", help="Id of a single runner in the file (see `list`).")]


class ExecutorChoice(StrEnum):
    docker = "docker"
    kubernetes = "kubernetes"
    shell = "shell"


def _exit_with_error(error: Exception) -> typer.Exit:
    typer.echo(f"Error: {error}", err=True)
    return typer.Exit(1)


def _load_runners(path: Path, runner_id: int | None = None) -> tuple[Config, ...]:
    try:
        runners = configuration.load(path.expanduser())
        selected = tuple(runner for runner in runners if runner_id in (None, runner.id))
        if not selected:
            raise ConfigError(f"{path} has no runner {runner_id}; it has {_format_ids(runners)}")
    except ConfigError as error:
        raise _exit_with_error(error) from error
    return selected


def _format_ids(runners: tuple[Config, ...]) -> str:
    return ", ".join(str(runner.id) for runner in runners)


@app.command("register")
def register_command(
    url: Annotated[str, typer.Option(envvar="HEADRACE_URL", help="URL of the server.")] = DEFAULT_URL,
    token: Annotated[
        str,
        typer.Option(
            help="Registration token. Prefer HEADRACE_REGISTRATION_TOKEN, or HEADRACE_REGISTRATION_TOKEN_FILE with the "
            "path of a file: other users can read the command line.",
        ),
    ] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    description: Annotated[str, typer.Option(help="Name of the agent in the server's lists.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="Tag of the runner; can be repeated.")] = None,
    run_untagged: Annotated[
        bool | None,
        typer.Option(
            "--run-untagged/--no-run-untagged", help="Run jobs without tags (default: only if the runner has no tags)."
        ),
    ] = None,
    locked: Annotated[bool, typer.Option("--locked", help="Serve only the project that the token belongs to.")] = False,
    maximum_timeout: Annotated[int, typer.Option(min=0, help="Maximum duration of a job in seconds; 0: no limit.")] = 0,
    paused: Annotated[
        bool, typer.Option("--paused", help="Register the runner paused: no jobs until it is activated.")
    ] = False,
    protected: Annotated[bool, typer.Option("--protected", help="Run only jobs of protected branches.")] = False,
    concurrency: Annotated[int, typer.Option(min=1, help="Maximum number of concurrent jobs.")] = 1,
    executor: Annotated[
        ExecutorChoice | None,
        typer.Option(
            help="docker: run all jobs in containers. kubernetes: run each job in a pod of the agent's cluster. shell: "
            "run all jobs as the agent's user; only for repositories that trust each other. Default: docker."
        ),
    ] = None,
    shell: Annotated[str, typer.Option(help="Program that runs the scripts (default: bash, else sh).")] = "",
    builds_dir: Annotated[
        Path | None, typer.Option(help="Working directory of jobs (default: `builds` beside the file).")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="JSON file with further settings, in the form of the configuration file.")
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(
            envvar="HEADRACE_CA_FILE", help="CA certificates to trust for the server (default: the system's)."
        ),
    ] = None,
    wait: Annotated[
        float,
        typer.Option(envvar="HEADRACE_WAIT_SECONDS", min=0, help="Seconds to retry while the server is unreachable."),
    ] = 120.0,
    if_missing: Annotated[
        bool,
        typer.Option(
            "--if-missing",
            help="Do not register again if the file has a runner that the server knows; only set its executor.",
        ),
    ] = False,
) -> None:
    """Register this machine as a runner. The configuration file can hold several runners; `run` serves them all.

    Edit the configuration file to change container settings: limits, user, volumes, pull policy, registry logins.
    """
    path = config.expanduser()
    try:
        if if_missing and path.exists():
            loaded = configuration.load(path)
            verified = [runner for runner in loaded if runner.url == url and verify(runner, wait)]
            if verified:
                chosen = tuple(replace(runner, executor=executor.value) if executor else runner for runner in verified)
                others = tuple(runner for runner in loaded if runner not in verified)
                if chosen != tuple(verified):
                    configuration.save(path, *others, *chosen)
                typer.echo(f"Already registered: {path}")
                return
        token = token or resolve_secret_files(os.environ).get("HEADRACE_REGISTRATION_TOKEN", "")
        if not token:
            raise ConfigError("no registration token: set HEADRACE_REGISTRATION_TOKEN")
        registered = register(
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
            executor=executor or ExecutorChoice.docker,
            shell=shell,
            builds_dir=builds_dir,
            ca_file=ca_file,
            retry_seconds=wait,
            settings=configuration.load_settings(settings) if settings else {},
        )
    except RequestFailed as error:
        rejected = ConfigError(f"{url} does not accept this registration token")
        raise _exit_with_error(rejected if error.status == UNKNOWN_TOKEN_STATUS else error) from error
    except (ConfigError, SettingsError, OSError) as error:
        raise _exit_with_error(error) from error
    typer.echo(
        f"Registered as runner {registered.id} ({registered.name}). Start it: headrace agent run --config {path}"
    )


@app.command("list")
def list_command(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """List the runners in the configuration file."""
    for runner in _load_runners(config):
        typer.echo(f"{runner.id}\t{runner.url}\t{runner.executor}\t{runner.concurrency} at a time\t{runner.name}")


@app.command("verify")
def verify_command(config: ConfigOption = DEFAULT_CONFIG, only: RunnerOption = None) -> None:
    """Check that the server knows the runners in the configuration file."""
    unknown = []
    try:
        for runner in _load_runners(config, only):
            if verify(runner):
                typer.echo(f"{runner.url} knows runner {runner.id} ({runner.name})")
            else:
                unknown.append(f"{runner.url} does not know runner {runner.id}")
    except (RequestFailed, SettingsError) as error:
        raise _exit_with_error(error) from error
    if unknown:
        raise _exit_with_error(ConfigError("; ".join(unknown)))


@app.command("unregister")
def unregister_command(
    config: ConfigOption = DEFAULT_CONFIG,
    only: RunnerOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All runners in the file.")] = False,
) -> None:
    """Remove a runner from the server and from the configuration file. The last runner's removal deletes the file."""
    selected = _load_runners(config, only)
    if len(selected) > 1 and not everything:
        raise _exit_with_error(
            ConfigError(f"{config} has the runners {_format_ids(selected)}: choose one with --runner, or use --all")
        )
    _unregister_all(config, selected)


def _unregister_all(config: Path, runners: tuple[Config, ...]) -> None:
    try:
        for runner in runners:
            unregister(runner, config.expanduser())
            typer.echo(f"Runner {runner.id} unregistered")
    except (RequestFailed, ConfigError, SettingsError, OSError) as error:
        raise _exit_with_error(error) from error


@app.command("run")
def run_command(
    config: ConfigOption = DEFAULT_CONFIG,
    only: RunnerOption = None,
    once: Annotated[bool, typer.Option("--once", help="Exit after one job.")] = False,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of concurrent jobs of each runner (default: the file's).")
    ] = None,
    grace: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds that running jobs get to finish after SIGTERM (default: the file's)."),
    ] = None,
    ephemeral: Annotated[
        bool, typer.Option("--ephemeral", help="Unregister at exit: for short-lived machines and containers.")
    ] = False,
    host: Annotated[str, typer.Option(envvar="HEADRACE_HOST", help="Address of the health endpoint.")] = "127.0.0.1",
    health_port: Annotated[
        int, typer.Option(envvar="HEADRACE_HEALTH_PORT", min=0, help="Port of /healthz and /readyz; 0: none.")
    ] = 0,
) -> None:
    """Request jobs and run them until SIGTERM or Ctrl-C.

    After the first signal, no new jobs start, and running jobs have the grace period to finish. A second signal exits
    at once.
    """
    loaded = _load_runners(config, only)
    try:
        runners = tuple(
            replace(
                runner,
                concurrency=concurrency or runner.concurrency,
                grace_seconds=runner.grace_seconds if grace is None else grace,
            )
            for runner in loaded
        )
        check_isolation(config.expanduser(), *runners)
    except (ValueError, ConfigError) as error:
        raise _exit_with_error(error) from error
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # httpx would log every request
    serve_runners(
        *runners,
        once=once,
        ephemeral=ephemeral,
        health=(host, health_port) if health_port else None,
    )
    if ephemeral:
        _unregister_all(config, loaded)
