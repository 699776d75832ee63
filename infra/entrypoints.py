"""Entry points of the services, the gateway and the migration. They save memory by not loading the command line."""

import gc
import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from client.errors import ClientError
from infra.local.process import OperatorError
from infra.service_catalog import SERVICES, load_service, load_services

if TYPE_CHECKING:
    from libs.settings import Settings


def run_service(name: str) -> None:
    if name not in SERVICES:
        raise OperatorError(f"Unknown service {name}. Services are {', '.join(SERVICES)}.")
    settings = _load_settings()
    from libs.service.service_host import run

    service = load_service(name)
    _tune_memory()
    run(service, settings)


def run_gateway() -> None:
    settings = _load_settings(nats_only=True)
    from gateway.main import run

    _tune_memory()
    run(settings)


def run_migration(embedded_mongodb: Sequence[int] = ()) -> None:
    """Migrate all services. `embedded_mongodb`: ports of a replica set that must first elect a primary."""
    settings = _load_settings()
    # the migration reports connection problems itself
    logging.getLogger("headrace.messaging").setLevel(logging.CRITICAL)
    from infra.migration import migrate

    if embedded_mongodb:
        from infra.replica_set import wait_until_primary

        wait_until_primary(embedded_mongodb)
    migrate(settings)


def import_services() -> None:
    """Import the modules of all services, the gateway, the migration and the registration of the local agent."""
    modules = ("gateway.main", "infra.local.agent", "infra.migration", "infra.replica_set")
    for module in (*modules, "libs.reactions.workers", "libs.service.service_host"):
        import_module(module)
    load_services()


def _tune_memory() -> None:
    """Exclude loaded modules from garbage collection, and collect less often: few objects have reference cycles."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _load_settings(*, nats_only: bool = False) -> "Settings":
    from libs.settings import Settings

    settings = Settings.from_environment(os.environ)
    settings.require_servers(bus_alone=nats_only)
    return settings


def exit_with_message(action: Callable[[], None]) -> None:
    """Run an action. On an error that the operator can fix, print its message and exit with status 1."""
    try:
        action()
    except (OperatorError, ClientError) as error:
        _exit(error)
    except Exception as error:
        from libs.settings import SettingsError  # imported late: the settings take most of the time of `--help`

        if not isinstance(error, SettingsError):
            raise
        _exit(error)


def _exit(error: Exception) -> NoReturn:
    sys.stderr.write(f"headrace: {error}\n")
    sys.exit(1)
