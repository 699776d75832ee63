"""Checks of the environment: key files, processes, disk, git, the gateway's URL, the mail server and the bucket."""

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

MAIL_TIMEOUT_SECONDS = 5.0  # timeout of each SMTP command
GATEWAY_TIMEOUT_SECONDS = 5.0
SECRET_FILE_VARIABLE = re.compile(r"_(KEY|PASSWORD|URL|TOKEN)_FILE$")
MIN_FREE_RATIO = 0.05  # minimum free part of the disk; less is a finding


async def check_file_permissions(settings: Settings, environ: Mapping[str, str]) -> AsyncIterator[Finding]:
    """Find secret files that other users can access.

    The group may access files named by variables, but not files in the data folder.
    """
    own = [*sorted((settings.data / "secrets").glob("*")), DataFolder(settings.data).agent_config]
    named = [
        Path(file)
        for name, file in environ.items()
        if name.startswith("HEADRACE_") and SECRET_FILE_VARIABLE.search(name)
    ]
    forbidden = dict.fromkeys(named, stat.S_IRWXO) | dict.fromkeys(own, stat.S_IRWXG | stat.S_IRWXO)
    for file, mode in forbidden.items():
        if file.is_file() and file.stat().st_mode & mode:
            yield Finding(
                "files",
                f"{file} can be read or written by other users than its owner.",
                "It contains a secret, which allows to decrypt data or to sign in.",
                f"chmod 600 {file}",
            )


async def check_processes(settings: Settings) -> AsyncIterator[Finding]:
    """Find processes of the embedded stack that are not ready, or report that the stack is not running."""
    folder = DataFolder(settings.data)
    if not (folder.path / "mongodb").is_dir():
        return
    running = await asyncio.to_thread(stack_commands.list_processes, folder)
    down = [process["name"] for process in running or () if not process["ready"]]
    if running is None and not settings.mongodb_url:
        yield Finding(
            "processes",
            f"The stack on {folder.path} is not running.",
            "It cannot be used.",
            "Start it with `headrace server up`.",
        )
    elif down:
        yield Finding(
            "processes",
            f"{', '.join(down)} of the stack on {folder.path} {'is' if len(down) == 1 else 'are'} not ready.",
            "Their functions are not available.",
            f"See {folder.log(down[0])}. The supervisor restarts processes that exit.",
        )


async def check_disk(settings: Settings) -> AsyncIterator[Finding]:
    """Check the free space of the disk with the embedded stack's data, if there is such a stack."""
    if not (settings.data / "mongodb").is_dir():
        return
    usage = shutil.disk_usage(settings.data)
    if usage.free < max(MIN_FREE_BYTES, usage.total * MIN_FREE_RATIO):
        yield Finding(
            "disk",
            f"The disk of {settings.data} has {usage.free // 10**6} MB left.",
            "It contains databases and logs. If it is full, mongod stops and nothing can be recorded.",
            "Free some space, keep fewer builds per project, or move the folder to a larger disk.",
        )


async def check_git() -> AsyncIterator[Finding]:
    if shutil.which("git") is None:
        yield Finding(
            "git",
            "git is not installed on this machine.",
            "On machines with the service builds or an agent, every build fails with exit code 128 without git.",
            "Install git on all machines with the service builds or an agent.",
        )


async def check_gateway(settings: Settings) -> AsyncIterator[Finding]:
    url = f"{settings.url}/api/guest/ping"
    try:
        async with httpx.AsyncClient(
            timeout=GATEWAY_TIMEOUT_SECONDS,
            trust_env=False,
            verify=create_client_context(settings.ca_file, keep_system_authorities=True),
        ) as http:
            answer = await http.get(url)
        problem = "" if answer.status_code == 200 else f"responds with {answer.status_code}"
    except httpx.HTTPError as error:
        problem = f"is not reachable ({type(error).__name__})"
    if problem:
        yield Finding(
            "gateway",
            f"The gateway {problem} at {settings.url}.",
            "Users, forges and runners use this URL, and links in mails contain it.",
            "Start the gateway, or set HEADRACE_URL to its URL as seen from this machine.",
        )


async def check_mail(settings: Settings) -> AsyncIterator[Finding]:
    """Connect and sign in to the mail server, if one is configured. No mail is sent."""
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
            "Mails about failed builds are retried for one hour and then abandoned.",
            "Correct HEADRACE_MAIL_HOST, _PORT, _USERNAME, _PASSWORD and _TLS, or start the mail server.",
        )


async def check_bucket(settings: Settings) -> AsyncIterator[Finding]:
    """Write, read, list and delete an object in the artifact bucket, if one is configured."""
    if not settings.s3.bucket:
        return
    # imported late, because loading the S3 library takes time
    from services.builds.artifacts.s3_storage import find_bucket_problem

    if why := await find_bucket_problem(settings.s3, settings.database_prefix, settings.ca_file):
        yield Finding(
            "bucket",
            f"Artifacts cannot be stored in the bucket {settings.s3.bucket}: {why}",
            "Uploads and downloads of artifacts fail with ARTIFACT_STORE_UNAVAILABLE.",
            "Correct HEADRACE_S3_ENDPOINT, _REGION, _BUCKET and the access key, which needs to read, write, list and "
            "delete.",
        )
