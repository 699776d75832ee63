"""The folder of one job: the checkout, HOME, temporary files, and a private folder for scripts and file variables.

On Linux, an SSH key is kept in memory (memfd) and passed as a path below /proc/PID/fd of the agent.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from agent.execution.variable_expansion import resolve
from agent.processes import program
from agent.processes.process_cleanup import ENV_MARKER
from agent.processes.process_spawner import ProcessSpawner
from agent.protocol.job import Job, Source, Variable
from libs import git_env
from libs.section_markers import find_nonces
from libs.security.masking import SecretMasker
from libs.version import VERSION

INHERITED_VARIABLES = ("PATH", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ")
SSH_KEY = "HEADRACE_SSH_KEY"
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# makes git accept a checkout of another user, because containers rarely run as the owner of the checkout
SAFE_CHECKOUT = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
SUBMODULES: Mapping[str, tuple[str, ...]] = {"normal": (), "recursive": ("--recursive",)}
GIT_SETTINGS = {
    "core.fsync": "none",  # the checkout is temporary
    "core.fsmonitor": "false",  # the configuration of a checkout must not start programs
}


class CheckoutError(Exception):
    """The planned commit could not be checked out. The job's log contains git's output."""


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
    def __init__(self, folder: Path, job: Job) -> None:
        self.folder = folder
        self._memory_files: list[int] = []
        self._is_shared = False
        self.private = folder / "private"
        self.private.mkdir(mode=0o700, parents=True)
        self.checkout = folder / "checkout"
        self.checkout.mkdir()
        self.home = folder / "home"
        temporary = folder / "tmp"
        for path in (self.home, temporary):
            path.mkdir(mode=0o700)
        self._job = job
        runner_variables = {
            "CI_SERVER": "yes",
            "CI_RUNNER_VERSION": VERSION,
            "CI_JOB_TIMEOUT": str(job.timeout),
            "CI_BUILDS_DIR": str(folder.parent),
            ENV_MARKER: str(self.checkout),
        }
        own_folders = {"HOME": str(self.home), "TMPDIR": str(temporary)}
        self._base_environment = inherited_environment(os.environ) | own_folders | runner_variables
        job_git = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": str(self.home / ".gitconfig")}
        usable = [variable for variable in job.variables if VARIABLE_NAME.fullmatch(variable.key)]
        stored = {variable.key: self._store_value(variable) for variable in usable}
        expanded = stored | {
            variable.key: resolve(variable, stored | runner_variables) for variable in usable if not variable.file
        }
        self.environment = self._base_environment | job_git | expanded | runner_variables
        # without variables of this machine, and without the SSH key, which only git on this machine needs
        job_variables = {key: value for key, value in (expanded | runner_variables).items() if key != SSH_KEY}
        self.container_environment = SAFE_CHECKOUT | job_variables
        self.invalid_names = [variable.key for variable in job.variables if not VARIABLE_NAME.fullmatch(variable.key)]

    def write_script(self, number: int, text: str) -> Path:
        path = self.private / f"script-{number}"
        self._write_file(path, text, 0o755 if self._is_shared else 0o700)
        return path

    def make_readable(self, *, writable: bool) -> None:
        """Let any user in the container read the files and, if `writable`, write to the checkout.

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

    async def check_out(self, source: Source, spawner: ProcessSpawner, output: Callable[[bytes], None]) -> None:
        """Check out the planned commit, with the history and submodules that the job requests. Raises CheckoutError.

        Only the commands that fetch have the credentials of the repository in their environment.
        """
        variables = {variable.key: variable.value for variable in self._job.variables}
        if variables.get("GIT_STRATEGY") in ("none", "empty"):
            return
        depth_setting = variables.get("GIT_DEPTH", "")
        depth = int(depth_setting) if depth_setting.isdecimal() else source.depth
        url, _ = git_env.split_credentials(source.url)
        local_environment = self.git_environment(url)
        fetch_environment = self.git_environment(source.url, self._ssh_key())
        from_refs = list(source.refspecs)
        by_sha = [refspec for refspec in from_refs if refspec.removeprefix("+").startswith(f"{source.sha}:")]
        from_sha = by_sha or [source.sha]
        # each can fail: a server may not serve commits by hash, and a branch may no longer contain the commit
        attempts = [[f"--depth={depth}", *from_sha], from_refs] if depth > 0 else [from_refs, from_sha]
        output_chunks: list[bytes] = []

        async def run_git(environment: Mapping[str, str], *arguments: str) -> bool:
            command = ["git", *arguments]
            status = await program.run_program(
                spawner, command, cwd=self.checkout, environment=environment, output=output_chunks.append
            )
            return status == 0

        async def require_git(problem: str, environment: Mapping[str, str], *arguments: str) -> None:
            output_chunks.clear()
            if not await run_git(environment, *arguments):
                output(b"".join(output_chunks))
                raise CheckoutError(problem)

        object_format = ["--object-format=sha256"] if len(source.sha) == 64 else []
        # no templates, because they can contain hooks of this machine
        for command in (["init", "--quiet", "--template=", *object_format], ["remote", "add", "--", "origin", url]):
            await require_git("the checkout could not be created", local_environment, *command)
        upload_pack_arguments = git_env.upload_pack_args(source.url)
        for attempt in filter(None, attempts):
            output_chunks.clear()
            fetch = ["fetch", "--quiet", "--no-tags", *upload_pack_arguments, "origin", *attempt]
            checkout = ["checkout", "--quiet", "--force", "--detach", source.sha]
            if await run_git(fetch_environment, *fetch) and await run_git(local_environment, *checkout):
                break
        else:
            output(b"".join(output_chunks))
            raise CheckoutError(f"commit {source.sha} could not be checked out")
        strategy = variables.get("GIT_SUBMODULE_STRATEGY", "")
        if strategy in SUBMODULES:
            shallow = variables.get("GIT_SUBMODULE_DEPTH", "")
            flags = (*SUBMODULES[strategy], *([f"--depth={shallow}"] if shallow.isdecimal() else []))
            problem = "the submodules could not be checked out"
            await require_git(problem, fetch_environment, "submodule", "update", "--quiet", "--init", *flags)

    def close(self) -> None:
        while self._memory_files:
            os.close(self._memory_files.pop())

    def git_environment(self, url: str = "", ssh_key: Path | None = None) -> dict[str, str]:
        """Return the environment of a git command of the agent, without the variables of the job.

        It contains only the credentials of the arguments, and git ignores the configuration of this machine.
        """
        # git refuses submodules with local URLs by default, which a local repository may have
        local = {"protocol.file.allow": "always"} if git_env.is_local_url(url) else {}
        git_variables = git_env.build_environment(url, ssh_key, GIT_SETTINGS | local)
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

        A file on disk could remain after a crash. It is used only on systems without memfd.
        """
        if not hasattr(os, "memfd_create"):
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
            file.write(text)
