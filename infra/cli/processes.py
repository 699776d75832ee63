"""Commands that run one process of a deployment or prepare it: `service`, `gateway`, `migrate`."""

from typing import Annotated

import typer

from infra import entrypoints
from infra.cli.options import DataOption, connect_to_local_stack
from infra.service_catalog import SERVICES

app = typer.Typer()


@app.command()
def service(name: Annotated[str, typer.Argument(help=", ".join(SERVICES))], data: DataOption = None) -> None:
    """Run one replica of a service in the foreground.

    Needs **HEADRACE_MONGODB_URL**, **HEADRACE_NATS_URL** and **HEADRACE_MASTER_KEY**, or a running stack on the data
    folder. **HEADRACE_HEALTH_PORT** is the port of /healthz, /readyz and /metrics.

    Example: `headrace server service builds`
    """
    connect_to_local_stack(data, name if name in SERVICES else "migrate")
    entrypoints.exit_with_message(lambda: entrypoints.run_service(name))


@app.command()
def gateway(data: DataOption = None) -> None:
    """Run one replica of the gateway in the foreground. Replicas on one machine can share **HEADRACE_PORT**."""
    connect_to_local_stack(data, "gateway")
    entrypoints.exit_with_message(entrypoints.run_gateway)


@app.command()
def migrate(data: DataOption = None) -> None:
    """Create or update streams, consumers, collections and indexes. Run it before the services; `up` does so itself."""
    connect_to_local_stack(data)
    entrypoints.exit_with_message(entrypoints.run_migration)
