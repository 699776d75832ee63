"""The planner: from a branch to a commit, its spec file and the jobs; or to a finished build that says why not."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

from contracts.builds import (
    BuildQueued,
    BuildRow,
    BuildStatus,
    FailBuild,
    GoOnBuild,
    KillBuild,
    LaneGranted,
    LaunchedProject,
    PlanBuild,
    PlannedJob,
    PlannedStep,
)
from contracts.messages import Command
from libs import git
from libs.deciding import Recorded
from libs.observability.tracing import child
from libs.service import Context
from services.builds.entrusted import ProjectGone, job_secrets
from services.builds.pipeline.compiling import Pipeline, compile_pipeline, is_pipeline
from services.builds.pipeline.including import FilesWanted
from services.builds.pipeline.situation import situation
from services.builds.pipeline.tree import Tree, asks
from services.builds.pipeline.variables import Situation
from services.builds.repository import Head, NoSuchFile, NoSuchRef, Repositories, Unreachable
from services.builds.spec import Spec, SpecInvalid, SpecUnreadable, parse
from services.builds.views import summarise_build

NOT_REACHABLE = 128
NOT_FOUND = 1000
NOT_READABLE = 1001
UNKNOWN = -1
FRESH = timedelta(seconds=1)


class Planner:
    """Keeps the repositories of one process."""

    def __init__(self) -> None:
        self._repositories: Repositories | None = None

    async def plan(self, ctx: Context, recorded: Recorded[Any]) -> None:
        """The work after a build was queued, or was granted its lane."""
        build = await self._build(ctx, recorded)
        if build is not None and build.status is BuildStatus.PLANNED and isinstance(recorded.event, LaneGranted):
            await ctx.tell(GoOnBuild(build_id=build.id))
            return
        if build is None or build.status is not BuildStatus.QUEUED:
            return  # planned or over already
        if isinstance(recorded.event, BuildQueued) and build.needs_lane:
            return  # its turn comes with LaneGranted
        await ctx.tell(await self._plan(ctx, build))

    async def _build(self, ctx: Context, recorded: Recorded[Any]) -> BuildRow | None:
        # not older, and not from a clock that is ahead of this one: that would look fresh for long
        if isinstance(recorded.event, BuildQueued) and timedelta() <= ctx.cause.at - recorded.at < FRESH:
            return summarise_build(BuildRow(), recorded)  # nothing else can have been planned in this moment
        build: BuildRow | None = await ctx.rows("build").get(f"build-{recorded.event.build_id}")
        return build

    async def _plan(self, ctx: Context, build: BuildRow) -> Command:
        def failed(code: int, message: str, output: str | None = None) -> FailBuild:
            return FailBuild(build_id=build.id, exit_code=code, exit_message=message, output=output)

        try:
            if is_pipeline(build.project.spec_file_path if build.project else ""):
                return await self._pipeline(ctx, build)
            # numbers that a faulty spec file leaves unused are missed by nobody
            (head, content), job_id, local_id = await asyncio.gather(
                self._read(ctx, build),
                ctx.next_id("job"),
                ctx.next_id(f"job of project {build.project_id}"),
            )
            spec = parse(content)
        except ProjectGone:
            return KillBuild(build_id=build.id)
        except Unreachable as error:
            return failed(NOT_REACHABLE, "The repository could not be read", str(error))
        except NoSuchRef as error:
            return failed(NOT_REACHABLE, f"Nothing to build: {error}")
        except NoSuchFile as error:
            return failed(NOT_FOUND, "Spec file not found", f"There is no file {error} in the commit.")
        except IsADirectoryError as error:
            return failed(NOT_READABLE, "Spec file not readable", f"{error} is not a plain file.")
        except SpecUnreadable as error:
            return failed(NOT_READABLE, "Spec file not readable", str(error))
        except SpecInvalid as error:
            return failed(UNKNOWN, f"Unknown error: {error}", str(error))
        return PlanBuild(
            build_id=build.id,
            sha=head.sha,
            ref=head.ref,
            available_steps=tuple(step.name for step in spec.steps),
            jobs=(_job(build, spec, job_id, local_id),),
            served_by_hash=self._served_by_hash(build),
        )

    async def _pipeline(self, ctx: Context, build: BuildRow) -> PlanBuild:
        head, content = await self._read(ctx, build)
        default_branch, message = await self._about(ctx, build, head)
        now = situation(build, head.ref, head.sha, ctx.settings.url, default_branch, message)
        now = replace(now, secrets=await self._secrets(ctx, build))
        pipeline = await self._compiled(ctx, build, head, content, now)
        count = len(pipeline.jobs)
        job_ids, local_ids = await asyncio.gather(
            asyncio.gather(*(ctx.next_id("job") for _ in range(count))),
            asyncio.gather(*(ctx.next_id(f"job of project {build.project_id}") for _ in range(count))),
        )
        numbered = zip(pipeline.jobs, sorted(job_ids), sorted(local_ids), strict=True)
        return PlanBuild(
            build_id=build.id,
            sha=head.sha,
            ref=head.ref,
            available_steps=(),
            jobs=tuple(_numbered(build, job, job_id, local_id) for job, job_id, local_id in numbered),
            warnings=pipeline.warnings,
            default_branch=default_branch,
            message=message,
            served_by_hash=self._served_by_hash(build),
        )

    async def _compiled(self, ctx: Context, build: BuildRow, head: Head, content: bytes, now: Situation) -> Pipeline:
        """Files that it includes are read when it is known which."""
        while True:
            text = b"\n".join(filter(None, (content, *now.files.values())))
            if now.tree is None or (now.tree.changed is None and b"changes" in text):
                now = replace(now, tree=await self._tree(ctx, build, head, text))
            try:
                # in a thread: a file may be long, and others are planned meanwhile
                return await asyncio.to_thread(
                    compile_pipeline, content, now, build.timeout_seconds, build.max_attempts
                )
            except FilesWanted as wanted:
                found = {path: await self._included(ctx, build, head, path) for path in sorted(wanted.paths)}
                now = replace(now, files={**now.files, **found})

    async def _secrets(self, ctx: Context, build: BuildRow) -> dict[str, str]:
        entrusted = await job_secrets(ctx, build.project_id, None)
        return {one.name: one.value for one in entrusted.secrets}

    async def _included(self, ctx: Context, build: BuildRow, head: Head, path: str) -> bytes | None:
        if build.project is None or self._repositories is None:
            return None
        url, ssh_key = await self._address(ctx, build.project)
        try:
            return await self._repositories.file(url, head, path, ssh_key)
        except (NoSuchFile, IsADirectoryError):
            return None

    async def _tree(self, ctx: Context, build: BuildRow, head: Head, content: bytes) -> Tree | None:
        """Looked at only for files that may ask for it."""
        if build.project is None or self._repositories is None or not asks(content):
            return None
        url, ssh_key = await self._address(ctx, build.project)
        blobs = await self._repositories.tree(url, head, ssh_key)
        if b"changes" not in content:
            return Tree(blobs)
        return Tree(blobs, await self._repositories.changed(url, head, build.before_sha, ssh_key))

    async def _about(self, ctx: Context, build: BuildRow, head: Head) -> tuple[str, str]:
        """The default branch, and the message of the commit."""
        if build.project is None or self._repositories is None:
            return "", ""
        if build.project.branch == "*" and not build.pinned_sha:
            default = head
        else:
            url, ssh_key = await self._address(ctx, build.project)
            try:
                default = await self._repositories.head(url, "*", ssh_key)
            except NoSuchRef:
                default = head  # a repository without a default branch
        message = await self._repositories.message(build.project.repository, head)
        return default.ref.removeprefix("refs/heads/"), message

    def _served_by_hash(self, build: BuildRow) -> bool:
        """Return whether runners may fetch the commit by its hash. Its files were read before."""
        if build.project is None or self._repositories is None:
            return False
        return self._repositories.serves_commits(build.project.repository)

    async def _read(self, ctx: Context, build: BuildRow) -> tuple[Head, bytes]:
        project = build.project
        if project is None:
            raise NoSuchRef("the build has no project")
        if self._repositories is None:
            folder = ctx.settings.data / "repositories" / ctx.settings.instance
            self._repositories = Repositories(folder, ctx.settings.mirror_megabytes * 1024**2)
        url, ssh_key = await self._address(ctx, project)
        path = project.spec_file_path.replace("/", "", 1)  # the first slash of the text goes, wherever it stands
        if build.pinned_sha:
            head = Head(build.pinned_sha, build.pinned_ref or f"refs/heads/{project.branch}")
        else:
            with child("read branch"):
                head = await self._repositories.head(url, project.branch, ssh_key)
        with child("read spec file"):
            return head, await self._repositories.file(url, head, path, ssh_key)

    async def _address(self, ctx: Context, project: LaunchedProject) -> tuple[str, str | None]:
        """With the login, and the key."""
        if git.is_local(project.repository):
            return project.repository, None
        entrusted = await job_secrets(ctx, project.project_id, project.repository)
        return git.with_credentials(project.repository, entrusted.repository_login), entrusted.ssh_key


def _numbered(build: BuildRow, job: PlannedJob, job_id: int, local_id: int) -> PlannedJob:
    steps = [PlannedStep(name=f"@{job.name}:script", script="")]
    if job.after_commands:
        steps.append(PlannedStep(name=f"@{job.name}:after_script", script="", after=True))
    return job.but(
        job_id=job_id, job_uuid=str(uuid4()), local_id=local_id, steps=tuple(steps), delivery_id=build.delivery_id
    )


def _job(build: BuildRow, spec: Spec, job_id: int, local_id: int) -> PlannedJob:
    """All steps are one job: variables and folders of one step reach the next."""
    skipped = set(build.ignore_steps)
    return PlannedJob(
        job_id=job_id,
        job_uuid=str(uuid4()),
        name="build",
        local_id=local_id,
        steps=tuple(
            PlannedStep(
                name=step.name,
                script=step.script,
                skipped=step.name in skipped,
                on_kill=step.on_kill,
                timeout_seconds=step.timeout_seconds,
            )
            for step in spec.steps
        ),
        image=spec.image,
        timeout_seconds=build.timeout_seconds,
        max_attempts=build.max_attempts,
        delivery_id=build.delivery_id,
    )
