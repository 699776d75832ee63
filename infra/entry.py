"""The long-lived processes, started without the command line parser, which each would keep in memory."""

import ctypes
import gc
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module

from infra.local.process import StackError
from libs.settings import Settings, SettingsError

SERVICES = ("identity", "projects", "builds", "runners", "notifications")
PUBLIC = ("builds", "runners")  # whose events the login `consumer` may read
M_MMAP_THRESHOLD = -3  # of mallopt(3)
LARGE = 1024 * 1024  # bytes: what is larger goes back to the system as soon as it is freed


def service(name: str) -> None:
    if name not in SERVICES:
        raise SettingsError(f"There is no service {name}; the services are {', '.join(SERVICES)}.")
    settings = _settings()
    from libs.hosting import run

    declared = import_module(f"services.{name}.app").service
    _use_memory_well()
    run(declared, settings)


def gateway() -> None:
    settings = _settings(bus_alone=True)
    from gateway.app import run

    _use_memory_well()
    run(settings)


def migrate() -> None:
    settings = _settings()
    logging.getLogger("headrace.messaging").setLevel(logging.CRITICAL)  # what is in the way is told in words
    from infra.migrate import migrate as make_streams_consumers_and_indexes

    make_streams_consumers_and_indexes(settings)


def _use_memory_well() -> None:
    """What was loaded stays and need not be looked at again; requests make much that goes without any collection."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    with suppress(OSError, AttributeError):  # of glibc alone
        # It would learn to keep large pieces for the thread that freed them: 19 MB after the first log-in.
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)


def _settings(*, bus_alone: bool = False) -> Settings:
    settings = Settings.from_environment(os.environ)
    settings.require_servers(bus_alone=bus_alone)
    return settings


def in_words(act: Callable[[], None]) -> None:
    """What the operator can mend ends the process with one sentence instead of a traceback."""
    try:
        act()
    except (SettingsError, StackError) as error:
        sys.stderr.write(f"headrace: {error}\n")
        sys.exit(1)
