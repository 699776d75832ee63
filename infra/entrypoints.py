"""The long-lived processes, started without the command line parser, which each would keep in memory."""

import ctypes
import gc
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module

from infra.local.process import OperatorError
from libs.settings import Settings, SettingsError

SERVICES = ("identity", "projects", "builds", "runners", "notifications")
PUBLIC_SERVICES = ("builds", "runners")  # whose events the login `consumer` may read
M_MMAP_THRESHOLD = -3  # of mallopt(3)
MMAP_THRESHOLD_BYTES = 1024 * 1024  # bytes: what is larger goes back to the system as soon as it is freed


def run_service(name: str) -> None:
    if name not in SERVICES:
        raise SettingsError(f"There is no service {name}; the services are {', '.join(SERVICES)}.")
    settings = _load_settings()
    from libs.service.service_host import run

    declared = import_module(f"services.{name}.app").service
    _tune_memory()
    run(declared, settings)


def run_gateway() -> None:
    settings = _load_settings(nats_only=True)
    from gateway.main import run

    _tune_memory()
    run(settings)


def run_migration() -> None:
    settings = _load_settings()
    logging.getLogger("headrace.messaging").setLevel(logging.CRITICAL)  # what is in the way is told in words
    from infra.migration import migrate as make_streams_consumers_and_indexes

    make_streams_consumers_and_indexes(settings)


def _tune_memory() -> None:
    """What was loaded stays and need not be looked at again; requests make much that goes without any collection."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    with suppress(OSError, AttributeError):  # of glibc alone
        # It would learn to keep large pieces for the thread that freed them: 19 MB after the first log-in.
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)


def _load_settings(*, nats_only: bool = False) -> Settings:
    settings = Settings.from_environment(os.environ)
    settings.require_servers(bus_alone=nats_only)
    return settings


def exit_with_message(action: Callable[[], None]) -> None:
    """What the operator can mend ends the process with one sentence instead of a traceback."""
    try:
        action()
    except (SettingsError, OperatorError) as error:
        sys.stderr.write(f"headrace: {error}\n")
        sys.exit(1)
