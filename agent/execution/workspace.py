"""The folder of one job: the checkout, HOME, temporary files, and a private folder for scripts and file variables.

On Linux, an SSH key is kept in memory (memfd) and passed as a path below /proc/PID/fd of the agent. If jobs run as
another user than the agent, it is in the private folder.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from agent.execution.variable_expansion import resolve
from agent.processes.job_users import JobUser
from agent.processes.process_cleanup import ENV_MARKER
from agent.protocol.job import Job, Variable
from libs import git_env
from libs.section_markers import find_nonces
from libs.security.masking import SecretMasker
from libs.version import VERSION

INHERITED_VARIABLES = ("PATH", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ")
SSH_KEY = "HEADRACE_SSH_KEY"
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# makes git accept a checkout of another user, because containers rarely run as the owner of the checkout
SAFE_CHECKOUT = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
GIT_SETTINGS = {
    "core.fsmonitor": "false",  # the configuration of a checkout must not start programs
    "fetch.unpackLimit": "1",  # packs are faster than single files
}
TEMPORARY_SETTINGS = {"core.fsync": "none"}


def create_masker(job: Job) -> SecretMasker:
    """Return the masker for the job's log. It leaves the section markers that the job's scripts write unchanged."""
    return SecretMasker(masked_values(job), find_nonces(join_scripts(job)))


def join_scripts(job: Job) -> str:
    return "".join(step.script for step in job.steps)


def masked_values(job: Job) -> Iterator[str]:
    yield job.token
    yield from (dependency.token for dependency in job.dependencies)
    yield from (variable.value for variable in job.variables if variable.masked)
    yield from (login.password for login in job.logins)
    if job.source:
        _, login = git_env.split_credentials(job.source.url)
        yield from git_env.extract_secrets(login)


def inherited_environment(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: environment[name] for name in INHERITED_VARIABLES if name in environment}


class Workspace:
    def __init__(
        self, folder: Path, job: Job, user: JobUser | None = None, git_settings: Mapping[str, str] | None = None
    ) -> None:
        """Create the folders of the job and the files of its file variables.

        `user` owns the folders that the job can change, and the files that only the job may read. `git_settings` apply
        to the agent's git commands.
        """
        self.folder = folder
        self._git_settings = git_settings or {}
        self._user = user
        self._memory_files: list[int] = []
        self._is_shared = False
        self.private = folder / "private"
        self.private.mkdir(mode=0o711 if user else 0o700, parents=True)
        self.transfers = folder / "transfers"  # archives, which only the agent reads and writes
        self.transfers.mkdir(mode=0o700)
        self.checkout = folder / "checkout"
        self.checkout.mkdir()
        self.home = folder / "home"
        temporary = folder / "tmp"
        for path in (self.home, temporary):
            path.mkdir(mode=0o700)
        if user:
            folder.chmod(0o711)
            self.checkout.chmod(0o700)
            for path in (self.checkout, self.home, temporary):
                user.own(path)
        self._job = job
        runner_variables = {
            "CI_SERVER": "yes",
            "CI_RUNNER_VERSION": VERSION,
            "CI_JOB_TIMEOUT": str(job.timeout),
            "CI_BUILDS_DIR": str(folder.parent),
            ENV_MARKER: str(self.checkout),
        }
        own_folders = {"HOME": str(self.home), "TMPDIR": str(temporary)}
        if user:
            own_folders |= {"USER": user.name, "LOGNAME": user.name}
        self._base_environment = inherited_environment(os.environ) | own_folders | runner_variables
        job_git = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": str(self.home / ".gitconfig")}
        usable = [variable for variable in job.variables if VARIABLE_NAME.fullmatch(variable.key)]
        stored = {variable.key: self._store_value(variable) for variable in usable}
        expanded = stored | {
            variable.key: resolve(variable, stored | runner_variables) for variable in usable if not variable.file
        }
        self.environment = self._base_environment | job_git | expanded | runner_variables
        # excludes variables of this machine, and the SSH key, which only git on this machine needs
        job_variables = {key: value for key, value in (expanded | runner_variables).items() if key != SSH_KEY}
        self.container_environment = SAFE_CHECKOUT | job_variables
        self.invalid_names = [variable.key for variable in job.variables if not VARIABLE_NAME.fullmatch(variable.key)]

    def file_access(self) -> AbstractContextManager[None]:
        """Access files with the permissions of the job's user, if it has one, in the current thread."""
        return self._user.file_access() if self._user else nullcontext()

    def write_script(self, number: int, text: str) -> Path:
        path = self.private / f"script-{number}"
        self._write_file(path, text, 0o755 if self._is_shared else 0o700)
        return path

    def make_readable(self, *, writable: bool) -> None:
        """Let any user in the container read the private folder and, if `writable`, write to the checkout.

        The parent folder is private, so other users of this machine still have no access.
        """
        self._is_shared = True
        for path in (self.private, *self.private.iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o644)
        for folder, _, names in os.walk(self.checkout) if writable else ():
            for path in (Path(folder), *(Path(folder, name) for name in names)):
                if not path.is_symlink():
                    mode = path.stat().st_mode
                    path.chmod(mode | 0o666 | (0o111 if mode & 0o111 else 0))

    def own_checkout(self) -> None:
        """Make the job's user the owner of the new checkout, except of packs that are linked from a mirror.

        Call it before the first program of the job, which can create links in the checkout.
        """
        if self._user is None:
            return
        for folder, _, names in os.walk(self.checkout):
            for path in (Path(folder), *(Path(folder, name) for name in names)):
                if path.is_dir() or path.stat().st_nlink == 1:
                    self._user.own(path)

    def close(self) -> None:
        while self._memory_files:
            os.close(self._memory_files.pop())

    def git_environment(self, url: str = "", *, fetches: bool = False, durable: bool = False) -> dict[str, str]:
        """Return the environment of a git command of the agent, without the variables of the job.

        Its only credentials are the login in the URL and, for a command that `fetches`, the SSH key. `durable`: the
        written files outlive the job. git ignores the configuration of this machine.
        """
        # git refuses submodules with local URLs by default, which a local repository may have
        local = {"protocol.file.allow": "always"} if git_env.is_local_url(url) else {}
        settings = {**self._git_settings, **GIT_SETTINGS, **local, **({} if durable else TEMPORARY_SETTINGS)}
        git_variables = git_env.build_environment(url, self._ssh_key() if fetches else None, settings)
        return self._base_environment | git_env.WITHOUT_HOST_CONFIG | git_variables

    def _ssh_key(self) -> Path | None:
        has_key = any(variable.key == SSH_KEY and variable.file for variable in self._job.variables)
        return Path(self.environment[SSH_KEY]) if has_key else None

    def _store_value(self, variable: Variable) -> str:
        """Return the variable's value or, for a file variable, the path of a new file with the value."""
        if not variable.file:
            return variable.value
        path = self.private / variable.key
        if variable.key == SSH_KEY:
            # ssh rejects a key without a final newline
            return str(self._write_to_memory(path, variable.value.removesuffix("\n") + "\n"))
        self._write_file(path, variable.value, 0o600)
        return str(path)

    def _write_to_memory(self, path: Path, text: str) -> Path:
        """Write the text to memory and return the path to read it from.

        A file on disk could remain after a crash. It is used only on systems without memfd, and for another user, which
        cannot open files of the agent's process.
        """
        if self._user or not hasattr(os, "memfd_create"):
            self._write_file(path, text, 0o600)
            return path
        handle = os.memfd_create(path.name)
        self._memory_files.append(handle)
        os.fchmod(handle, 0o600)  # ssh rejects a key that other users can read
        with open(handle, "w", encoding="utf-8", newline="", closefd=False) as file:
            file.write(text)
        return Path(f"/proc/{os.getpid()}/fd/{handle}")

    def _write_file(self, path: Path, text: str, mode: int) -> None:
        with open(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8", newline=""
        ) as file:
            if self._user:
                os.fchown(file.fileno(), self._user.uid, self._user.gid)
            file.write(text)
