"""`headrace admin rebuild`: rebuild rows and projections from the event log, with a progress bar for each."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from infra.event_stream import connect_to_nats
from infra.local.process import OperatorError
from infra.service_catalog import SERVICES, load_service
from libs.projections.rebuild import EventsRemoved, rebuild_projection, rebuild_rows
from libs.projections.rebuild import ProgressCallback as Report
from libs.service.connections import create_mongo_client, create_vault, get_database
from libs.service.declaration import Service
from libs.settings import Settings, SettingsError
from libs.subscriptions.event_log import DatabaseLog

Rebuild = Callable[[Report], Awaitable[int]]  # rebuilds one view; returns its number of rows


def rebuild(service: str, view: str | None) -> None:
    """Rebuild one view of a service, or all views if `view` is None. The service can keep running.

    A view is a projection or the rows of a category. Raises SettingsError or OperatorError.
    """
    if service not in SERVICES:
        raise SettingsError(f"Unknown service {service}. Services are {', '.join(SERVICES)}.")
    declared = load_service(service)
    views = [category.name for category in declared.categories]
    views += [projection.name for projection in declared.projections]
    if view is not None and view not in views:
        raise SettingsError(f"The service {service} has no view {view}. Its views are {', '.join(views)}.")
    settings = Settings.from_environment(os.environ)
    settings.require_servers()
    asyncio.run(_rebuild(settings, declared, [view] if view else views))


async def _rebuild(settings: Settings, service: Service, names: list[str]) -> None:
    console = Console(highlight=False)
    client = create_mongo_client(settings, "rebuild")
    nats = await connect_to_nats(settings, "rebuild")
    try:
        database = get_database(client, settings, service.name)
        vault = create_vault(database, settings)
        rebuilds: dict[str, Rebuild] = {
            category.name: partial(rebuild_rows, database, category, vault) for category in service.categories
        }
        rebuilds |= {
            view.name: partial(
                rebuild_projection, database, view, nats, DatabaseLog(get_database(client, settings, view.source))
            )
            for view in service.projections
        }
        for name in names:
            units = "commits" if name in {category.name for category in service.categories} else "events"
            console.print(await _run_with_progress(console, f"{service.name}.{name}", units, rebuilds[name]))
    finally:
        await nats.close()
        await client.close()


async def _run_with_progress(console: Console, name: str, units: str, run: Rebuild) -> str:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), MofNCompleteColumn())
    quiet = not console.is_terminal
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=quiet) as progress:
        task = progress.add_task(name, total=None)
        read = 0

        def report(done: int, total: int) -> None:
            nonlocal read
            read = done
            progress.update(task, completed=done, total=total)

        started = time.monotonic()
        try:
            rows = await run(report)
        except TimeoutError as error:
            raise OperatorError(
                f"{name} was not rebuilt because the event stream does not respond. Run the command again."
            ) from error
        except EventsRemoved as error:
            raise OperatorError(
                f"{name} was not rebuilt because the event stream loses events. Wait until its service is ready, and"
                " run the command again."
            ) from error
        seconds = time.monotonic() - started
    return f"{name:<28} {rows:>8,} rows from {read:,} {units} in {seconds:.2f} s ({read / seconds:,.0f}/s)"
