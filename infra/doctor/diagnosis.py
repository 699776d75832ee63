"""`headrace admin doctor`: run all checks of a deployment and print the findings, causes before consequences."""

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

from infra.doctor import database_checks, environment_checks, nats_checks, service_checks
from infra.doctor.finding import Check, Finding, run_check
from infra.local.stack_commands import connect_to_stack
from infra.service_catalog import load_services
from libs.messaging.nats_connection import connect, disconnect, parse_nats_address
from libs.service.connections import close_client, create_mongo_client, get_database
from libs.settings import Settings, SettingsError

NATS_TIMEOUT_SECONDS = 5.0
console = Console(highlight=False, soft_wrap=True)


def run_doctor(*, as_json: bool) -> int:
    """Run all checks and print the findings. Return the exit status: 0 without findings, otherwise 1."""
    for noisy in ("headrace.messaging", "nats", "pymongo"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    try:
        connect_to_stack("migrate")
        settings = Settings.from_environment(os.environ)
    except SettingsError as error:
        checks = ["settings"]
        findings = [Finding("settings", str(error), "No process starts with this value.", "Correct the variable.")]
    else:
        checks, findings = asyncio.run(diagnose(settings))
    if as_json:
        report = {"healthy": not findings, "looked_at": checks, "findings": [asdict(finding) for finding in findings]}
        sys.stdout.write(f"{json.dumps(report, indent=2)}\n")
    else:
        _print_findings(checks, findings)
    return 1 if findings else 0


async def diagnose(settings: Settings) -> tuple[list[str], list[Finding]]:
    checks: dict[str, Check] = {
        "processes": partial(environment_checks.check_processes, settings),
        "files": partial(environment_checks.check_file_permissions, settings, os.environ),
        "disk": partial(environment_checks.check_disk, settings),
        "git": environment_checks.check_git,
        "gateway": partial(environment_checks.check_gateway, settings),
        "mail": partial(environment_checks.check_mail, settings),
        "bucket": partial(environment_checks.check_bucket, settings),
    }
    findings = _find_missing_settings(settings)
    async with AsyncExitStack() as stack:
        checks |= await _server_checks(settings, stack, findings)
        results = await asyncio.gather(*(run_check(name, check) for name, check in checks.items()))
    return ["settings", *checks], [*findings, *(finding for result in results for finding in result)]


def _find_missing_settings(settings: Settings) -> list[Finding]:
    try:
        settings.require_servers()
    except SettingsError as error:
        why = "Without it, services can be neither checked nor started."
        return [Finding("settings", str(error), why, "Set it, or select the folder of a running stack with --data.")]
    return []


async def _server_checks(settings: Settings, stack: AsyncExitStack, findings: list[Finding]) -> dict[str, Check]:
    """Return the checks that need MongoDB or NATS. Add the findings about these servers to `findings`."""
    services, checks = load_services(), dict[str, Check]()
    client = None
    if settings.mongodb_url:
        try:
            client = create_mongo_client(settings, "doctor")
        except SettingsError as error:
            findings.append(database_checks.invalid_setting_finding(error))
        else:
            stack.push_async_callback(close_client, client)
            findings += (mongodb_findings := await run_check("mongodb", partial(database_checks.check_server, client)))
            client = None if mongodb_findings and mongodb_findings[0].check in database_checks.FATAL_CHECKS else client
    if client is not None:
        checks["durability"] = partial(database_checks.check_durability, client, settings)
        checks["storage"] = partial(database_checks.check_storage, client, settings, services)
        checks["contents"] = partial(database_checks.check_contents, client, settings, services)
        if settings.master_keys:
            checks["master_key"] = partial(database_checks.check_master_keys, client, settings, services)
    databases = {}
    if client is not None:
        databases = {service.name: get_database(client, settings, service.name) for service in services}
    if databases:
        checks["clocks"] = partial(service_checks.check_clocks, databases)
        checks["runners"] = partial(service_checks.check_runners, databases["builds"], databases["runners"])
    if not settings.nats_url:
        return checks
    try:
        async with asyncio.timeout(NATS_TIMEOUT_SECONDS):
            nats = await connect(settings, "doctor")
    except (NatsError, OSError, TimeoutError, SettingsError) as error:
        findings.append(nats_checks.unreachable_finding(error))
        return checks
    stack.push_async_callback(disconnect, nats)
    findings += (nats_findings := await run_check("nats", partial(nats_checks.check_server, nats)))
    if len(parse_nats_address(settings).servers) > 1:
        checks["nats.servers"] = partial(nats_checks.check_servers, settings)
    checks["services"] = partial(service_checks.check_services, nats, services)
    if not any(finding.check == "nats.jetstream" for finding in nats_findings):
        checks["streams"] = partial(nats_checks.check_streams, nats, settings, services)
        for service in services if databases else ():
            checks[f"relay.{service.name}"] = partial(nats_checks.check_relay, nats, service, databases[service.name])
            checks[f"followers.{service.name}"] = partial(
                nats_checks.check_subscriptions, nats, service, databases[service.name]
            )
    return checks


def _print_findings(checks: Sequence[str], findings: Sequence[Finding]) -> None:
    for finding in findings:
        console.print(f"[red]✗[/] [bold]{finding.what}[/]")
        console.print(f"  consequence: {finding.why}")
        console.print(f"  remedy: {finding.todo}")
        console.print()
    if findings:
        console.print(f"{len(findings)} finding{'s' if len(findings) > 1 else ''} in {len(checks)} checks.")
    else:
        console.print(f"No findings. Checked: {', '.join(checks)}.")
