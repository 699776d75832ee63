"""Git as a subprocess: credentials and SSH keys in its environment, a time limit, and errors without secrets."""

import asyncio
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from libs import git_env
from libs.security.masking import SecretMasker

LIST_TIMEOUT_SECONDS = 60
FETCH_TIMEOUT_SECONDS = 300
INHERITED_VARIABLES = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "SSH_AUTH_SOCK")


class RepositoryUnreachable(Exception):
    """Git could not read the repository. The message says why, and contains no credentials."""


async def run_git(
    url: str,
    ssh_key: str | None,
    seconds: float,
    *arguments: str,
    settings: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
) -> bytes:
    """Run git, with further settings and environment variables, and return its output.

    Raises RepositoryUnreachable with the last lines of git's error output, without credentials.
    """
    try:
        return await _run_with_key(url, ssh_key, seconds, arguments, settings or {}, variables or {})
    except RepositoryUnreachable as error:
        _, login = git_env.split_credentials(url)
        # the server may repeat the login in its error message
        message, _ = SecretMasker(git_env.extract_secrets(login)).apply(str(error).encode(), final=True)
        raise RepositoryUnreachable(message.decode()) from None


async def _run_with_key(
    url: str,
    ssh_key: str | None,
    seconds: float,
    arguments: tuple[str, ...],
    settings: Mapping[str, str],
    variables: Mapping[str, str],
) -> bytes:
    if ssh_key is None:
        return await _run_in_thread(
            git_env.build_environment(url, None, settings) | dict(variables), seconds, arguments
        )
    with tempfile.TemporaryDirectory() as private:
        key = Path(private) / "key"
        key.touch(mode=0o600)
        key.write_text(ssh_key if ssh_key.endswith("\n") else f"{ssh_key}\n")
        return await _run_in_thread(git_env.build_environment(url, key, settings) | dict(variables), seconds, arguments)


async def _run_in_thread(variables: dict[str, str], seconds: float, arguments: tuple[str, ...]) -> bytes:
    """Run git in a thread: an asyncio subprocess would take much more CPU time."""
    return await asyncio.to_thread(_run_and_wait, variables, seconds, arguments)


def _run_and_wait(variables: dict[str, str], seconds: float, arguments: tuple[str, ...]) -> bytes:
    inherited = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
    if arguments[0] == "-C":
        # do not search parent folders for a repository
        inherited["GIT_CEILING_DIRECTORIES"] = str(Path(arguments[1]).parent)
    process = subprocess.Popen(
        ["git", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=inherited | variables,
        start_new_session=True,  # so that git's helper processes can be killed, too
    )
    try:
        output, stderr = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise RepositoryUnreachable(f"git did not finish within {seconds:g} seconds") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        raise RepositoryUnreachable(_last_lines(stderr))
    return output


def _last_lines(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return "\n".join(lines[-5:]) or "git failed without output"


async def run_local_git(git_dir: Path, *arguments: str) -> bytes:
    return await run_git("", None, LIST_TIMEOUT_SECONDS, "--git-dir", str(git_dir), *arguments)
