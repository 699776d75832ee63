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
    ConcurrencySlotGranted,
    ContinueBuild,
    FailBuild,
    KillBuild,
    LaunchedProject,
    PlanBuild,
    PlannedJob,
    PlannedStep,
)
from contracts.messages import Command
from libs import git_env
from libs.eventstore.decider import RecordedEvent
from libs.observability.tracing import child_span
from libs.service.declaration import Context
from services.builds.dispatch.job_secrets import ProjectDeletedError, load_job_secrets
from services.builds.pipeline.compiler import Pipeline, compile_pipeline, is_pipeline
from services.builds.pipeline.context import create_context
from services.builds.pipeline.document.includes import IncludesRequired
from services.builds.pipeline.rules.repository_tree import RepositoryTree, needs_tree
from services.builds.pipeline.variables import PipelineContext
from services.builds.planning.git_mirror import GitMirrors, NoSuchFile, NoSuchRef, RepositoryUnreachable, ResolvedRef
from services.builds.planning.spec import Spec, SpecInvalid, SpecUnreadable, parse_spec
from services.builds.projections import project_build

REPOSITORY_EXIT_CODE = 128
SPEC_NOT_FOUND_EXIT_CODE = 1000
SPEC_UNREADABLE_EXIT_CODE = 1001
SPEC_INVALID_EXIT_CODE = -1
MAX_FRESH_AGE = timedelta(seconds=1)


class Planner:
    """Keeps the repositories of one process."""

    def __init__(self) -> None:
        self._mirrors: GitMirrors | None = None

    async def plan_build(self, ctx: Context, recorded: RecordedEvent[Any]) -> None:
        """The work after a build was queued, or was granted its lane."""
        build = await self._load_build(ctx, recorded)
        if (
            build is not None
            and build.status is BuildStatus.PLANNED
            and isinstance(recorded.event, ConcurrencySlotGranted)
        ):
            await ctx.send(ContinueBuild(build_id=build.id))
            return
        if build is None or build.status is not BuildStatus.QUEUED:
            return  # planned or over already
        if isinstance(recorded.event, BuildQueued) and build.needs_lane:
            return  # its turn comes with LaneGranted
        await ctx.send(await self._plan_or_fail(ctx, build))

    async def _load_build(self, ctx: Context, recorded: RecordedEvent[Any]) -> BuildRow | None:
        # not older, and not from a clock that is ahead of this one: that would look fresh for long
        if isinstance(recorded.event, BuildQueued) and timedelta() <= ctx.metadata.at - recorded.at < MAX_FRESH_AGE:
            return project_build(BuildRow(), recorded)  # nothing else can have been planned in this moment
        build: BuildRow | None = await ctx.read_model("build").get(f"build-{recorded.event.build_id}")
        return build

    async def _plan_or_fail(self, ctx: Context, build: BuildRow) -> Command:
        def failed(code: int, message: str, output: str | None = None) -> FailBuild:
            return FailBuild(build_id=build.id, exit_code=code, exit_message=message, output=output)

        try:
            if is_pipeline(build.project.spec_file_path if build.project else ""):
                return await self._plan_pipeline(ctx, build)
            # numbers that a faulty spec file leaves unused are missed by nobody
            (head, content), job_id, local_id = await asyncio.gather(
                self._read_spec_file(ctx, build),
                ctx.next_id("job"),
                ctx.next_id(f"job of project {build.project_id}"),
            )
            spec = parse_spec(content)
        except ProjectDeletedError:
            return KillBuild(build_id=build.id)
        except RepositoryUnreachable as error:
            return failed(REPOSITORY_EXIT_CODE, "The repository could not be read", str(error))
        except NoSuchRef as error:
            return failed(REPOSITORY_EXIT_CODE, f"Nothing to build: {error}")
        except NoSuchFile as error:
            return failed(SPEC_NOT_FOUND_EXIT_CODE, "Spec file not found", f"There is no file {error} in the commit.")
        except IsADirectoryError as error:
            return failed(SPEC_UNREADABLE_EXIT_CODE, "Spec file not readable", f"{error} is not a plain file.")
        except SpecUnreadable as error:
            return failed(SPEC_UNREADABLE_EXIT_CODE, "Spec file not readable", str(error))
        except SpecInvalid as error:
            return failed(SPEC_INVALID_EXIT_CODE, f"Unknown error: {error}", str(error))
        return PlanBuild(
            build_id=build.id,
            sha=head.sha,
            ref=head.ref,
            available_steps=tuple(step.name for step in spec.steps),
            jobs=(_single_job(build, spec, job_id, local_id),),
            served_by_hash=self._is_served_by_hash(build),
        )

    async def _plan_pipeline(self, ctx: Context, build: BuildRow) -> PlanBuild:
        head, content = await self._read_spec_file(ctx, build)
        default_branch, message = await self._default_branch_and_message(ctx, build, head)
        now = create_context(build, head.ref, head.sha, ctx.settings.url, default_branch, message)
        now = replace(now, secrets=await self._load_secrets(ctx, build))
        pipeline = await self._compile(ctx, build, head, content, now)
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
            jobs=tuple(_with_ids(build, job, job_id, local_id) for job, job_id, local_id in numbered),
            warnings=pipeline.warnings,
            default_branch=default_branch,
            message=message,
            served_by_hash=self._is_served_by_hash(build),
        )

    async def _compile(
        self, ctx: Context, build: BuildRow, head: ResolvedRef, content: bytes, now: PipelineContext
    ) -> Pipeline:
        """Files that it includes are read when it is known which."""
        while True:
            text = b"\n".join(filter(None, (content, *now.files.values())))
            if now.tree is None or (now.tree.changed_paths is None and b"changes" in text):
                now = replace(now, tree=await self._load_tree(ctx, build, head, text))
            try:
                # in a thread: a file may be long, and others are planned meanwhile
                return await asyncio.to_thread(
                    compile_pipeline, content, now, build.timeout_seconds, build.max_attempts
                )
            except IncludesRequired as wanted:
                found = {path: await self._read_included(ctx, build, head, path) for path in sorted(wanted.paths)}
                now = replace(now, files={**now.files, **found})

    async def _load_secrets(self, ctx: Context, build: BuildRow) -> dict[str, str]:
        entrusted = await load_job_secrets(ctx, build.project_id, None)
        return {one.name: one.value for one in entrusted.secrets}

    async def _read_included(self, ctx: Context, build: BuildRow, head: ResolvedRef, path: str) -> bytes | None:
        if build.project is None or self._mirrors is None:
            return None
        url, ssh_key = await self._authenticated_url(ctx, build.project)
        try:
            return await self._mirrors.read_file(url, head, path, ssh_key)
        except (NoSuchFile, IsADirectoryError):
            return None

    async def _load_tree(
        self, ctx: Context, build: BuildRow, head: ResolvedRef, content: bytes
    ) -> RepositoryTree | None:
        """Looked at only for files that may ask for it."""
        if build.project is None or self._mirrors is None or not needs_tree(content):
            return None
        url, ssh_key = await self._authenticated_url(ctx, build.project)
        blobs = await self._mirrors.list_files(url, head, ssh_key)
        if b"changes" not in content:
            return RepositoryTree(blobs)
        return RepositoryTree(blobs, await self._mirrors.list_changed_paths(url, head, build.before_sha, ssh_key))

    async def _default_branch_and_message(self, ctx: Context, build: BuildRow, head: ResolvedRef) -> tuple[str, str]:
        """The default branch, and the message of the commit."""
        if build.project is None or self._mirrors is None:
            return "", ""
        if build.project.branch == "*" and not build.pinned_sha:
            default = head
        else:
            url, ssh_key = await self._authenticated_url(ctx, build.project)
            try:
                default = await self._mirrors.resolve(url, "*", ssh_key)
            except NoSuchRef:
                default = head  # a repository without a default branch
        message = await self._mirrors.read_message(build.project.repository, head)
        return default.ref.removeprefix("refs/heads/"), message

    def _is_served_by_hash(self, build: BuildRow) -> bool:
        """Return whether runners may fetch the commit by its hash. Its files were read before."""
        if build.project is None or self._mirrors is None:
            return False
        return self._mirrors.serves_commits(build.project.repository)

    async def _read_spec_file(self, ctx: Context, build: BuildRow) -> tuple[ResolvedRef, bytes]:
        project = build.project
        if project is None:
            raise NoSuchRef("the build has no project")
        if self._mirrors is None:
            folder = ctx.settings.data / "repositories" / ctx.settings.instance
            self._mirrors = GitMirrors(folder, ctx.settings.mirror_megabytes * 1024**2)
        url, ssh_key = await self._authenticated_url(ctx, project)
        path = project.spec_file_path.replace("/", "", 1)  # the first slash of the text goes, wherever it stands
        if build.pinned_sha:
            head = ResolvedRef(build.pinned_sha, build.pinned_ref or f"refs/heads/{project.branch}")
        else:
            with child_span("read branch"):
                head = await self._mirrors.resolve(url, project.branch, ssh_key)
        with child_span("read spec file"):
            return head, await self._mirrors.read_file(url, head, path, ssh_key)

    async def _authenticated_url(self, ctx: Context, project: LaunchedProject) -> tuple[str, str | None]:
        """With the login, and the key."""
        if git_env.is_local_url(project.repository):
            return project.repository, None
        entrusted = await load_job_secrets(ctx, project.project_id, project.repository)
        return git_env.add_credentials(project.repository, entrusted.repository_login), entrusted.ssh_key


def _with_ids(build: BuildRow, job: PlannedJob, job_id: int, local_id: int) -> PlannedJob:
    steps = [PlannedStep(name=f"@{job.name}:script", script="")]
    if job.after_commands:
        steps.append(PlannedStep(name=f"@{job.name}:after_script", script="", after=True))
    return job.replace(
        job_id=job_id, job_uuid=str(uuid4()), local_id=local_id, steps=tuple(steps), delivery_id=build.delivery_id
    )


def _single_job(build: BuildRow, spec: Spec, job_id: int, local_id: int) -> PlannedJob:
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
