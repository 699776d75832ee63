"""The folder of one job: its checkout, and beside it a private place for scripts and files that hold values.

An SSH key is kept in memory where the system can do it (Linux), and is known by a path of this process.
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

INHERITED_VARIABLES = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ")
SSH_KEY = "HEADRACE_SSH_KEY"
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# the user of a container is seldom the one who made the checkout
SAFE_CHECKOUT = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
SUBMODULES: Mapping[str, tuple[str, ...]] = {"normal": (), "recursive": ("--recursive",)}
GIT_SETTINGS = {"core.fsync": "none"}  # the folder does not outlive the job


class CheckoutError(Exception):
    """The planned commit could not be brought here; git's own words are in the log."""


def create_masker(job: Job) -> SecretMasker:
    """Return the mask of the job's log. The markers that the job's own scripts write are left as they are."""
    return SecretMasker(masked_values(job), find_nonces(join_scripts(job)))


def join_scripts(job: Job) -> str:
    return "".join(step.script for step in job.steps)


def masked_values(job: Job) -> Iterator[str]:
    """What must not appear in the job's log."""
    yield job.token
    yield from (one.token for one in job.dependencies)
    yield from (variable.value for variable in job.variables if variable.masked)
    yield from (login.password for login in job.logins)
    if job.source:
        _, login = git_env.split_credentials(job.source.url)
        yield from git_env.extract_secrets(login)


def inherited_environment(own: Mapping[str, str]) -> dict[str, str]:
    """What a job may see of the agent's environment."""
    return {name: own[name] for name in INHERITED_VARIABLES if name in own}


class Workspace:
    def __init__(self, folder: Path, job: Job) -> None:
        self.folder = folder
        self._memory_files: list[int] = []
        self._is_shared = False
        self.private = folder / "private"
        self.private.mkdir(mode=0o700, parents=True)
        self.checkout = folder / "checkout"
        self.checkout.mkdir()
        self._job = job
        own = {
            "CI_SERVER": "yes",
            "CI_RUNNER_VERSION": VERSION,
            "CI_JOB_TIMEOUT": str(job.timeout),
            "CI_BUILDS_DIR": str(folder.parent),
            ENV_MARKER: str(self.checkout),
        }
        self._base_environment = inherited_environment(os.environ) | own
        usable = [variable for variable in job.variables if VARIABLE_NAME.fullmatch(variable.key)]
        written = {one.key: self._store_value(one) for one in usable}
        given = written | {one.key: resolve(one, written | own) for one in usable if not one.file}
        self.environment = self._base_environment | given | own
        # nothing of this machine, and not the key: the checkout is made outside
        contained = {key: value for key, value in (given | own).items() if key != SSH_KEY}
        self.container_environment = SAFE_CHECKOUT | contained
        self.invalid_names = [variable.key for variable in job.variables if not VARIABLE_NAME.fullmatch(variable.key)]

    def write_script(self, number: int, text: str) -> Path:
        path = self.private / f"script-{number}"
        self._write_file(path, text, 0o755 if self._is_shared else 0o700)
        return path

    def make_readable(self, *, writable: bool) -> None:
        """With the users of a container. Those of this machine stay outside: the folder around is closed to them."""
        self._is_shared = True
        for path in (self.private, *self.private.iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o644)
        for folder, _, names in os.walk(self.checkout) if writable else ():
            for path in (Path(folder), *(Path(folder, name) for name in names)):
                if not path.is_symlink():
                    mode = path.stat().st_mode
                    path.chmod(mode | 0o666 | (0o111 if mode & 0o111 else 0))

    async def check_out(self, source: Source, nursery: ProcessSpawner, output: Callable[[bytes], None]) -> None:
        """Bring exactly the planned commit, with as much history and as many submodules as asked for."""
        wishes = {variable.key: variable.value for variable in self._job.variables}
        if wishes.get("GIT_STRATEGY") in ("none", "empty"):
            return
        wished = wishes.get("GIT_DEPTH", "")
        depth = int(wished) if wished.isdecimal() else source.depth
        self._make_repository(source)
        environment = self._git_environment(source)
        from_refs = list(source.refspecs)
        from_sha = [one for one in from_refs if one.removeprefix("+").startswith(f"{source.sha}:")] or [source.sha]
        # a server may refuse to give a bare commit, and a branch may no longer hold the planned one
        ways = [[f"--depth={depth}", *from_sha], from_refs] if depth > 0 else [from_refs, from_sha]
        said: list[bytes] = []

        async def worked(*arguments: str) -> bool:
            command = ["git", *arguments]
            status = await program.run_program(
                nursery, command, cwd=self.checkout, environment=environment, output=said.append
            )
            return status == 0

        served = git_env.upload_pack_args(source.url)
        for way in filter(None, ways):
            said.clear()
            fetched = await worked("fetch", "--quiet", "--no-tags", *served, "origin", *way)
            if fetched and await worked("checkout", "--quiet", "--force", "--detach", source.sha):
                break
        else:
            output(b"".join(said))
            raise CheckoutError(f"commit {source.sha} could not be checked out")
        strategy = wishes.get("GIT_SUBMODULE_STRATEGY", "")
        if strategy in SUBMODULES:
            shallow = wishes.get("GIT_SUBMODULE_DEPTH", "")
            flags = (*SUBMODULES[strategy], *([f"--depth={shallow}"] if shallow.isdecimal() else []))
            said.clear()
            if not await worked("submodule", "update", "--quiet", "--init", *flags):
                output(b"".join(said))
                raise CheckoutError("the submodules could not be checked out")

    def close(self) -> None:
        """Forget what is kept in memory."""
        while self._memory_files:
            os.close(self._memory_files.pop())

    def _make_repository(self, source: Source) -> None:
        """What `git init` and `git remote add` would write, without two processes."""
        inside = self.checkout / ".git"
        for folder in ("objects", "refs"):
            (inside / folder).mkdir(parents=True)
        (inside / "HEAD").write_text("ref: refs/heads/main\n")
        url, _ = git_env.split_credentials(source.url)
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
        (inside / "config").write_text("\n".join(lines) + "\n")

    def _git_environment(self, source: Source) -> dict[str, str]:
        has_key = any(variable.key == SSH_KEY and variable.file for variable in self._job.variables)
        key = Path(self.environment[SSH_KEY]) if has_key else None
        # beside a repository of this machine, its submodules may be, too
        local = {"protocol.file.allow": "always"} if git_env.is_local_url(source.url) else {}
        return self._base_environment | git_env.build_environment(source.url, key, GIT_SETTINGS | local)

    def _store_value(self, variable: Variable) -> str:
        if not variable.file:
            return variable.value
        path = self.private / variable.key
        if variable.key == SSH_KEY:
            # ssh refuses a key whose last line has no end
            return str(self._write_to_memory(path, variable.value.removesuffix("\n") + "\n"))
        self._write_file(path, variable.value, 0o600)
        return str(path)

    def _write_to_memory(self, path: Path, text: str) -> Path:
        """In no file of a disk: one could outlive a crash."""
        if not hasattr(os, "memfd_create"):
            self._write_file(path, text, 0o600)
            return path
        handle = os.memfd_create(path.name)
        self._memory_files.append(handle)
        os.fchmod(handle, 0o600)  # ssh refuses a key that others can read
        with open(handle, "w", encoding="utf-8", newline="", closefd=False) as file:
            file.write(text)
        return Path(f"/proc/{os.getpid()}/fd/{handle}")

    def _write_file(self, path: Path, text: str, mode: int) -> None:
        with open(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8", newline=""
        ) as file:
            file.write(text)
