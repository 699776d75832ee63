"""What lies around the services: settings, key files, git, disk, the gateway's address and the mail server."""

import asyncio
import re
import shutil
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiosmtplib
import httpx

from infra.doctor.finding import Finding
from infra.local import stack_commands
from infra.local.data_folder import MIN_FREE_BYTES, DataFolder
from libs.security.tls import create_client_context
from libs.settings import Settings
from services.notifications.mail import smtp_client, to_mail_failed

MAIL_TIMEOUT_SECONDS = 5.0  # seconds for each step of the conversation
GATEWAY_TIMEOUT_SECONDS = 5.0
SECRET_FILE_VARIABLE = re.compile(r"_(KEY|PASSWORD|URL|TOKEN)_FILE$")
MIN_FREE_RATIO = 0.05  # of the disk


async def check_file_permissions(settings: Settings, environ: Mapping[str, str]) -> AsyncIterator[Finding]:
    """Secrets that somebody else may read; of those that are mounted for a group, the group may."""
    own = [*sorted((settings.data / "secrets").glob("*")), DataFolder(settings.data).agent_config]
    named = [
        Path(file)
        for name, file in environ.items()
        if name.startswith("HEADRACE_") and SECRET_FILE_VARIABLE.search(name)
    ]
    for file, others in [*((one, stat.S_IRWXG | stat.S_IRWXO) for one in own), *((one, stat.S_IRWXO) for one in named)]:
        if file.is_file() and file.stat().st_mode & others:
            yield Finding(
                "files",
                f"{file} can be read or written by others than its owner.",
                "It holds a secret: whoever reads it can open what is sealed, or log in.",
                f"chmod 600 {file}",
            )


async def check_processes(settings: Settings) -> AsyncIterator[Finding]:
    """Of the local stack, where there is one."""
    folder = DataFolder(settings.data)
    if not (folder.path / "mongodb").is_dir():
        return
    found = await asyncio.to_thread(stack_commands.list_processes, folder)
    down = [one["name"] for one in found or () if not one["ready"]]
    if found is None and not settings.mongodb_url:
        yield Finding(
            "processes",
            f"The stack on {folder.path} does not run.",
            "Nobody can use it.",
            "Start it with `headrace up`.",
        )
    elif down:
        yield Finding(
            "processes",
            f"Of the stack on {folder.path} {', '.join(down)} {'is' if len(down) == 1 else 'are'} not ready.",
            "What they are for does not work.",
            f"See {folder.log(down[0])}; whatever dies is started again by itself.",
        )


async def check_disk(settings: Settings) -> AsyncIterator[Finding]:
    """Only where the local stack keeps its data."""
    if not (settings.data / "mongodb").is_dir():
        return
    usage = shutil.disk_usage(settings.data)
    if usage.free < max(MIN_FREE_BYTES, usage.total * MIN_FREE_RATIO):
        yield Finding(
            "disk",
            f"The disk of {settings.data} has {usage.free // 10**6} MB left.",
            "Databases and logs lie there; when it is full, nothing is recorded any more and mongod stops.",
            "Free some space, let projects keep fewer builds, or move the folder to a larger disk.",
        )


async def check_git() -> AsyncIterator[Finding]:
    if shutil.which("git") is None:
        yield Finding(
            "git",
            "There is no git here.",
            "Where builds and agents run without git, every build ends with code 128: nothing can be fetched.",
            "Install git wherever the service builds and agents run.",
        )


async def check_gateway(settings: Settings) -> AsyncIterator[Finding]:
    address = f"{settings.url}/api/guest/ping"
    try:
        async with httpx.AsyncClient(
            timeout=GATEWAY_TIMEOUT_SECONDS,
            trust_env=False,
            verify=create_client_context(settings.ca_file, keep_system_authorities=True),
        ) as http:
            answer = await http.get(address)
        problem = "" if answer.status_code == 200 else f"answers {answer.status_code}"
    except httpx.HTTPError as error:
        problem = f"is not reachable ({type(error).__name__})"
    if problem:
        yield Finding(
            "gateway",
            f"The gateway {problem} at {settings.url}.",
            "People, forges and runners use this address, and links in mails lead to it.",
            "Start the gateway, or set HEADRACE_URL to the address at which it is reached from here.",
        )


async def check_mail(settings: Settings) -> AsyncIterator[Finding]:
    """As far as the log-in; nothing is sent."""
    if not settings.mail.host:
        return
    try:
        async with (
            asyncio.timeout(3 * MAIL_TIMEOUT_SECONDS),
            smtp_client(settings.mail, settings.ca_file, MAIL_TIMEOUT_SECONDS),
        ):
            return
    except (aiosmtplib.SMTPException, OSError) as error:
        yield Finding(
            "mail",
            f"Mails cannot be sent: {to_mail_failed(error).reason}.",
            "Nobody is told of failed builds; the mails are tried for an hour and then given up.",
            "Correct HEADRACE_MAIL_HOST, _PORT, _USERNAME, _PASSWORD and _TLS, or start the mail server.",
        )


async def check_bucket(settings: Settings) -> AsyncIterator[Finding]:
    """As the service builds uses it: an object is put, read, listed and removed."""
    if settings.bucket is None:
        return
    from services.builds.artifacts.s3_storage import (
        find_bucket_problem,  # here: its library takes a while that others need not wait
    )

    if why := await find_bucket_problem(settings.bucket, settings.database_prefix, settings.ca_file):
        yield Finding(
            "bucket",
            f"Artifacts cannot be kept in the bucket {settings.bucket.name}: {why}",
            "What jobs leave is refused with ARTIFACT_STORE_UNAVAILABLE, and what they left cannot be fetched.",
            "Correct HEADRACE_S3_ENDPOINT, _REGION, _BUCKET and the login; it must read, write, list and delete.",
        )
