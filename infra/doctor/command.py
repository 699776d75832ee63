"""`headrace doctor`: every look at a deployment, in an order that tells causes before consequences."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial

from nats.errors import Error as NatsError
from rich.console import Console

from infra.doctor import bus, database, surroundings, work
from infra.doctor.finding import Finding, Look, looked
from infra.local.control import connect as connect_to_stack
from infra.migrate import all_services
from libs.connections import database_of, mongo, part_from
from libs.messaging import connect, disconnect, nats_address
from libs.settings import Settings, SettingsError

PATIENCE = 5.0  # seconds for NATS
console = Console(highlight=False, soft_wrap=True)


def doctor(*, as_json: bool) -> int:
    """Returns the exit status: 0 where there is nothing to tell."""
    for noisy in ("headrace.messaging", "nats", "pymongo"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    try:
        connect_to_stack("migrate")
        settings = Settings.from_environment(os.environ)
    except SettingsError as error:
        checks = ["settings"]
        findings = [Finding("settings", str(error), "No process starts with it.", "Correct the variable.")]
    else:
        checks, findings = asyncio.run(examined(settings))
    if as_json:
        report = {"healthy": not findings, "looked_at": checks, "findings": [asdict(one) for one in findings]}
        sys.stdout.write(f"{json.dumps(report, indent=2)}\n")
    else:
        _tell(checks, findings)
    return 1 if findings else 0


async def examined(settings: Settings) -> tuple[list[str], list[Finding]]:
    looks: dict[str, Look] = {
        "processes": partial(surroundings.processes, settings),
        "files": partial(surroundings.files, settings, os.environ),
        "disk": partial(surroundings.disk, settings),
        "git": surroundings.git,
        "gateway": partial(surroundings.gateway, settings),
        "mail": partial(surroundings.mail, settings),
        "bucket": partial(surroundings.bucket, settings),
    }
    findings = _unset(settings)
    async with AsyncExitStack() as stack:
        looks |= await _inner(settings, stack, findings)
        results = await asyncio.gather(*(looked(name, look) for name, look in looks.items()))
    return ["settings", *looks], [*findings, *(one for result in results for one in result)]


def _unset(settings: Settings) -> list[Finding]:
    try:
        settings.require_servers()
    except SettingsError as error:
        why = "Without it no service can be looked at, or started."
        return [Finding("settings", str(error), why, "Set it, or name the folder of a running stack with --data.")]
    return []


async def _inner(settings: Settings, stack: AsyncExitStack, findings: list[Finding]) -> dict[str, Look]:
    """Looks at what lies behind the servers, as far as these answer."""
    services, looks = all_services(), dict[str, Look]()
    client = None
    if settings.mongodb_url:
        try:
            client = mongo(settings, "doctor")
        except SettingsError as error:
            findings.append(database.unusable(error))
        else:
            stack.push_async_callback(part_from, client)
            findings += (found := await looked("mongodb", partial(database.server, client)))
            client = None if found and found[0].check in database.FATAL else client
    if client is not None:
        looks["durability"] = partial(database.durability, client, settings)
        looks["contents"] = partial(database.contents, client, settings, services)
        if settings.master_keys:
            looks["master_key"] = partial(database.keys, client, settings, services)
    databases = {one.name: database_of(client, settings, one.name) for one in services} if client is not None else {}
    if databases:
        looks["clocks"] = partial(work.clocks, databases)
        looks["runners"] = partial(work.fleet, databases["builds"], databases["runners"])
    if not settings.nats_url:
        return looks
    try:
        async with asyncio.timeout(PATIENCE):
            nats = await connect(settings, "doctor")
    except (NatsError, OSError, TimeoutError, SettingsError) as error:
        findings.append(bus.unreachable(error))
        return looks
    stack.push_async_callback(disconnect, nats)
    findings += (found := await looked("nats", partial(bus.server, nats)))
    if len(nats_address(settings).servers) > 1:
        looks["nats.servers"] = partial(bus.servers, settings)
    looks["services"] = partial(work.services, nats, services)
    if not any(one.check == "nats.jetstream" for one in found):
        looks["streams"] = partial(bus.streams, nats, settings, services)
        for service in services if databases else ():
            looks[f"relay.{service.name}"] = partial(bus.relay, nats, service, databases[service.name])
            looks[f"followers.{service.name}"] = partial(bus.followers, nats, service, databases[service.name])
    return looks


def _tell(checks: Sequence[str], findings: Sequence[Finding]) -> None:
    for one in findings:
        console.print(
            f"[red]✗[/] [bold]{one.what}[/]", f"  why it matters: {one.why}", f"  what to do: {one.todo}", sep="\n"
        )
        console.print()
    if findings:
        console.print(f"{len(findings)} finding{'s' if len(findings) > 1 else ''} in {len(checks)} looks.")
    else:
        console.print(f"All is well. Looked at: {', '.join(checks)}.")
