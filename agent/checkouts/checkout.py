"""The checkout of a job: the planned commit with its history and submodules, from a mirror if possible."""

import shutil
from collections.abc import Callable, Mapping

from agent.checkouts.git_commands import GitCommands
from agent.checkouts.repository_mirrors import RepositoryMirror, RepositoryMirrors
from agent.config import Config
from agent.execution.workspace import Workspace
from agent.processes.job_spawner import JobSpawner
from agent.protocol.job import Job, Source
from libs import git_env

SUBMODULES: Mapping[str, tuple[str, ...]] = {"normal": (), "recursive": ("--recursive",)}


class Checkout:
    def __init__(
        self, job: Job, config: Config, workspace: Workspace, spawner: JobSpawner, log: Callable[[bytes], None]
    ) -> None:
        self._job = job
        self._config = config
        self._workspace = workspace
        self._spawner = spawner
        self._log = log
        self._git = GitCommands(spawner, workspace.checkout, log)
        self._variables = {variable.key: variable.value for variable in job.variables}

    async def create(self, source: Source) -> None:
        """Check out the planned commit, with the history and submodules that the job requests. Raises CheckoutError.

        Does nothing if the job's variable GIT_STRATEGY is `none` or `empty`. Only the commands that fetch have the
        credentials of the repository in their environment.
        """
        if self._variables.get("GIT_STRATEGY") in ("none", "empty"):
            return
        depth_setting = self._variables.get("GIT_DEPTH", "")
        depth = int(depth_setting) if depth_setting.isdecimal() else source.depth
        url, _ = git_env.split_credentials(source.url)
        environment = self._workspace.git_environment(url)
        fetch_environment = self._workspace.git_environment(source.url, fetches=True)
        mirrors = RepositoryMirrors(self._config)
        mirror = mirrors.select(self._job, source, depth)
        if not (mirror and await self._check_out_mirror(mirrors, mirror, source, environment)):
            await self._fetch(source, depth, environment, fetch_environment)
        await self._fetch_large_files(source, environment, fetch_environment)
        await self._update_submodules(fetch_environment)

    async def _create_repository(self, source: Source, environment: Mapping[str, str]) -> None:
        """Create an empty repository, as a copy of one that git creates once in each run of the agent."""
        object_format = "sha256" if len(source.sha) == 64 else "sha1"
        template = self._workspace.folder.parent / f"git-{object_format}"
        if not template.is_dir():
            new = self._workspace.transfers / "git"
            new.mkdir()
            git = GitCommands(self._spawner.as_agent(), new, self._log)
            # Templates of this machine can contain hooks. Older versions of git do not know `--object-format`.
            options = ["--object-format=sha256"] if object_format == "sha256" else []
            await git.require(
                "the checkout could not be created", environment, "init", "--quiet", "--template=", *options
            )
            if not template.exists():  # another job may have created it
                (new / ".git").rename(template)
        directory = self._workspace.checkout / ".git"
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(template, directory)
        with (directory / "config").open("a") as file:
            url = git_env.split_credentials(source.url)[0]
            file.write(f'[remote "origin"]\n\turl = {_quote(url)}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n')

    async def _check_out_mirror(
        self,
        mirrors: RepositoryMirrors,
        mirror: RepositoryMirror,
        source: Source,
        environment: Mapping[str, str],
    ) -> bool:
        """Check out the commit with the objects of the mirror. If it is damaged, remove it and return False.

        A commit that an earlier job of this project has fetched is not fetched again. That grants no additional access,
        because the server has found the commit in the repository when it planned this job. Raises CheckoutError if the
        commit cannot be fetched.
        """
        await self._create_repository(source, environment)
        is_fetched = False
        async with mirror.lock(exclusive=False):
            if has_commit := mirror.has(source.sha):
                self._copy_objects(mirror, source)
        if not has_commit:
            async with mirror.lock(exclusive=True):
                if not mirror.has(source.sha):
                    git = GitCommands(self._spawner.as_agent(), mirror.folder, self._log)
                    mirror_environment = self._workspace.git_environment(source.url, fetches=True, durable=True)
                    if not await mirror.fetch(git, mirror_environment, source):
                        git.fail(f"commit {source.sha} could not be checked out")
                    is_fetched = True
                self._copy_objects(mirror, source)
        if is_fetched:
            mirrors.evict()
        checkout = ["checkout", "--quiet", "--force", "--detach", source.sha]
        if await self._git.run(environment, *checkout):
            return True
        async with mirror.lock(exclusive=True):
            mirror.remove()
        return False

    def _copy_objects(self, mirror: RepositoryMirror, source: Source) -> None:
        mirror.mark_used()
        mirror.copy_to(self._workspace.checkout / ".git", source.sha, link=self._spawner.user is not None)
        self._workspace.own_checkout()

    async def _fetch(
        self, source: Source, depth: int, environment: Mapping[str, str], fetch_environment: Mapping[str, str]
    ) -> None:
        from_refs = list(source.refspecs)
        by_sha = [refspec for refspec in from_refs if refspec.removeprefix("+").startswith(f"{source.sha}:")]
        from_sha = by_sha or [source.sha]
        # each can fail: a server may not serve commits by hash, and a branch may no longer contain the commit
        attempts = [[f"--depth={depth}", *from_sha], from_refs] if depth > 0 else [from_refs, from_sha]
        await self._create_repository(source, environment)
        self._workspace.own_checkout()
        options = git_env.upload_pack_args(source.url)
        for attempt in filter(None, attempts):
            self._git.forget_output()
            fetch = ["fetch", "--quiet", "--no-tags", *options, "origin", *attempt]
            checkout = ["checkout", "--quiet", "--force", "--detach", source.sha]
            if await self._git.run(fetch_environment, *fetch) and await self._git.run(environment, *checkout):
                return
        self._git.fail(f"commit {source.sha} could not be checked out")

    async def _fetch_large_files(
        self, source: Source, environment: Mapping[str, str], fetch_environment: Mapping[str, str]
    ) -> None:
        """Replace the pointers of Git LFS with their files, if git-lfs is installed and the commit uses it.

        The job's variable GIT_LFS_SKIP_SMUDGE prevents this. The filters of Git LFS are configured only in such
        a checkout. Only the command that fetches has credentials.
        """
        uses_lfs = ["grep", "--quiet", "filter=lfs", "--", ":(glob)**/.gitattributes"]
        is_skipped = self._variables.get("GIT_LFS_SKIP_SMUDGE", "") not in ("", "0", "false")
        if is_skipped or shutil.which("git-lfs") is None or not await self._git.run(environment, *uses_lfs):
            return
        for command_environment, command in (
            (environment, ["install", "--local", "--skip-repo"]),
            (fetch_environment, ["fetch", "origin", source.sha]),
            (environment, ["checkout"]),
        ):
            await self._git.require("the files of Git LFS could not be fetched", command_environment, "lfs", *command)

    async def _update_submodules(self, fetch_environment: Mapping[str, str]) -> None:
        strategy = self._variables.get("GIT_SUBMODULE_STRATEGY", "")
        if strategy in SUBMODULES:
            shallow = self._variables.get("GIT_SUBMODULE_DEPTH", "")
            flags = (*SUBMODULES[strategy], *([f"--depth={shallow}"] if shallow.isdecimal() else []))
            await self._git.require(
                "the submodules could not be checked out",
                fetch_environment,
                *("submodule", "update", "--quiet", "--init"),
                *flags,
            )


def _quote(value: str) -> str:
    """Quote a value for git's configuration file (git-config(1), Syntax)."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
