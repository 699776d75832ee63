"""The folder of one job: its checkout, and beside it a private place for scripts and files that hold values."""

import base64
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from agent import shell
from agent.job import Job, Source, Variable
from agent.protocol import VERSION
from agent.strays import MARK

INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ")
SSH_KEY = "HEADRACE_SSH_KEY"
SSH_OPTIONS = "-o IdentitiesOnly=yes -o StrictHostKeyChecking=accept-new -o BatchMode=yes"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
GIT_SETTINGS = {
    "safe.directory": "*",
    "advice.detachedHead": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "core.fsync": "none",  # the folder does not outlive the job
}


class CheckoutFailed(Exception):
    """The planned commit could not be brought here; git's own words are in the log."""


def without_credentials(url: str) -> tuple[str, str]:
    """The address, and `user:password` if it carried them."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return url, ""
    login, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=host)), unquote(login)


def secrets(job: Job) -> Iterator[str]:
    """What must not appear in the job's log."""
    yield job.token
    yield from (variable.value for variable in job.variables if variable.masked)
    if job.source and (login := without_credentials(job.source.url)[1]):
        _, colon, password = login.partition(":")
        yield from (login, password) if colon or len(login) > len("anonymous") else ()  # a bare user name is no secret


def base_environment(own: Mapping[str, str]) -> dict[str, str]:
    """What a job may see of the agent's environment."""
    return {name: own[name] for name in INHERITED if name in own}


class Workspace:
    def __init__(self, folder: Path, job: Job) -> None:
        self._private = folder / "private"
        self._private.mkdir(mode=0o700, parents=True)
        self.checkout = folder / "checkout"
        self.checkout.mkdir()
        self._job = job
        own = {
            "CI_SERVER": "yes",
            "CI_RUNNER_VERSION": VERSION,
            "CI_JOB_TIMEOUT": str(job.timeout),
            "CI_BUILDS_DIR": str(folder.parent),
            MARK: str(self.checkout),
        }
        self._base = base_environment(os.environ) | own
        given = {variable.key: self._value(variable) for variable in job.variables if NAME.fullmatch(variable.key)}
        self.environment = self._base | given | own
        self.unusable = [variable.key for variable in job.variables if not NAME.fullmatch(variable.key)]

    def script(self, number: int, text: str) -> Path:
        path = self._private / f"script-{number}"
        self._write(path, text, 0o700)
        return path

    async def check_out(self, source: Source, output: Callable[[bytes], None]) -> None:
        """Bring exactly the planned commit, with as much history as asked for."""
        self._make_repository(source)
        environment = self._git_environment(source)
        from_refs, from_sha = list(source.refspecs), [source.sha]
        # a server may refuse to give a bare commit, and a branch may no longer hold the planned one
        ways = [[f"--depth={source.depth}", *from_sha], from_refs] if source.depth > 0 else [from_refs, from_sha]
        said: list[bytes] = []

        async def git(*arguments: str) -> bool:
            command = ["git", *arguments]
            status = await shell.run(command, cwd=self.checkout, environment=environment, output=said.append)
            return status == 0

        # the other side of a local fetch does not inherit our settings, and would refuse a repository of another user
        local = source.url.startswith(("/", "file://"))
        served = ["--upload-pack=git -c safe.directory=* upload-pack"] if local else []
        for way in filter(None, ways):
            said.clear()
            fetched = await git("fetch", "--quiet", "--no-tags", *served, "origin", *way)
            if fetched and await git("checkout", "--quiet", "--force", "--detach", source.sha):
                return
        output(b"".join(said))
        raise CheckoutFailed(f"commit {source.sha} could not be checked out")

    def _make_repository(self, source: Source) -> None:
        """What `git init` and `git remote add` would write, without two processes."""
        git = self.checkout / ".git"
        for folder in ("objects", "refs"):
            (git / folder).mkdir(parents=True)
        (git / "HEAD").write_text("ref: refs/heads/main\n")
        url, _ = without_credentials(source.url)
        quoted = url.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        sha256 = len(source.sha) == 64
        lines = [
            "[core]",
            f"\trepositoryformatversion = {1 if sha256 else 0}",
            "\tbare = false",
            *(["[extensions]", "\tobjectFormat = sha256"] if sha256 else []),
            '[remote "origin"]',
            f'\turl = "{quoted}"',
            "\tfetch = +refs/heads/*:refs/remotes/origin/*",
        ]
        (git / "config").write_text("\n".join(lines) + "\n")

    def _git_environment(self, source: Source) -> dict[str, str]:
        settings = dict(GIT_SETTINGS)
        url, login = without_credentials(source.url)
        if login:
            encoded = base64.b64encode((login if ":" in login else f"{login}:").encode()).decode()
            parts = urlsplit(url)
            settings[f"http.{parts.scheme}://{parts.netloc}/.extraHeader"] = f"Authorization: Basic {encoded}"
        environment = {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_COUNT": str(len(settings))}
        for number, (key, value) in enumerate(settings.items()):
            environment |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        if any(variable.key == SSH_KEY and variable.file for variable in self._job.variables):
            environment["GIT_SSH_COMMAND"] = f"ssh -i {shlex.quote(self.environment[SSH_KEY])} {SSH_OPTIONS}"
        return self._base | environment

    def _value(self, variable: Variable) -> str:
        if not variable.file:
            return variable.value
        path = self._private / variable.key
        # ssh refuses a key whose last line has no end
        end = "\n" if variable.key == SSH_KEY and not variable.value.endswith("\n") else ""
        self._write(path, variable.value + end, 0o600)
        return str(path)

    def _write(self, path: Path, text: str, mode: int) -> None:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", newline="") as file:
            file.write(text)
