"""Planner: resolves the branch of a build to a commit, reads its spec file and plans its jobs, or fails the build."""

import asyncio
from dataclasses import dataclass, replace

from contracts.builds import (
    BuildQueued,
    BuildRow,
    BuildStatus,
    ConcurrencySlotGranted,
    KillBuild,
    LaunchedProject,
)
from libs import git_env
from libs.branch_names import BRANCH_REF_PREFIX, TAG_REF_PREFIX
from libs.eventstore.decider import AnyCommand, RecordedEvent
from libs.observability.tracing import child_span
from libs.service.declaration import Context
from services.builds.dispatch.job_secrets import (
    ProjectDeletedError,
    is_trusted,
    load_job_secrets,
    with_owner,
    without_secrets,
)
from services.builds.domain.internal_commands import FailBuild, PlanBuild
from services.builds.execution.superseded_builds import cancel_superseded
from services.builds.pipeline.compiler import Pipeline, compile_pipeline, is_pipeline
from services.builds.pipeline.context import PipelineContext, create_context
from services.builds.pipeline.document.includes import IncludesRequired
from services.builds.pipeline.rules.repository_tree import RepositoryTree, needs_tree
from services.builds.planning.git_mirror import GitMirrors, NoSuchFile
from services.builds.planning.git_process import RepositoryUnreachable
from services.builds.planning.local_refs import NoSuchRef, ResolvedRef
from services.builds.planning.planned_jobs import single_job, with_ids
from services.builds.planning.spec import SpecInvalid, SpecUnreadable, parse_spec
from services.builds.policies import on_slot_granted
from services.builds.projections import new_build_row
from services.builds.queries.initiators import with_initiator_name

REPOSITORY_EXIT_CODE = 128
SPEC_NOT_FOUND_EXIT_CODE = 1000
SPEC_UNREADABLE_EXIT_CODE = 1001
SPEC_INVALID_EXIT_CODE = -1


@dataclass(frozen=True, slots=True)
class CompiledBuild:
    resolved: ResolvedRef
    pipeline: Pipeline
    default_branch: str = ""
    message: str = ""


class Planner:
    """Plans builds with the git mirrors of this process."""

    def __init__(self) -> None:
        self._mirrors: GitMirrors | None = None

    async def plan_build(self, ctx: Context, recorded: RecordedEvent[BuildQueued | ConcurrencySlotGranted]) -> None:
        """Plan a build after BuildQueued or, where builds may not run concurrently, after ConcurrencySlotGranted.

        A build that is already planned when it gets the slot was resumed, so it continues. A build that no longer needs
        the slot returns it. A build of a push first cancels the builds that it supersedes.
        """
        build = await self._load_build(ctx, recorded)
        if build is not None and not build.finished and isinstance(recorded.event, BuildQueued):
            await cancel_superseded(ctx, recorded.event, self.find_head)
        if isinstance(recorded.event, ConcurrencySlotGranted) and (command := on_slot_granted(recorded.event, build)):
            await ctx.send(command)
            return
        if build is None or build.status is not BuildStatus.QUEUED:
            return  # already planned or finished
        if isinstance(recorded.event, BuildQueued) and build.needs_lane:
            return  # ConcurrencySlotGranted follows when its concurrency group is free
        await ctx.send(await self._plan_or_fail(ctx, build))

    async def _load_build(
        self, ctx: Context, recorded: RecordedEvent[BuildQueued | ConcurrencySlotGranted]
    ) -> BuildRow | None:
        if isinstance(recorded.event, BuildQueued) and not ctx.metadata.may_be_duplicate:
            return new_build_row(recorded.event)  # the event is so recent that it is the only one of the build
        return await ctx.read_model(BuildRow).get(f"build-{recorded.event.build_id}")

    async def _plan_or_fail(self, ctx: Context, build: BuildRow) -> AnyCommand:
        def failed(code: int, message: str, output: str | None = None) -> FailBuild:
            return FailBuild(build_id=build.id, exit_code=code, exit_message=message, output=output)

        try:
            if is_pipeline(build.project.spec_file_path if build.project else ""):
                return await self._plan_pipeline(ctx, build)
            # ids that an invalid spec file leaves unused do no harm
            (resolved, content), job_id, local_id = await asyncio.gather(
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
            sha=resolved.sha,
            ref=resolved.ref,
            available_steps=tuple(step.name for step in spec.steps),
            jobs=(single_job(build, spec, job_id, local_id),),
            served_by_hash=self._is_served_by_hash(build),
        )

    async def find_head(self, ctx: Context, project: LaunchedProject, ref: str) -> str | None:
        """Return the present commit of a ref of the repository. None: it does not exist, or cannot be read."""
        try:
            url, ssh_key = await self._authenticated_url(ctx, project)
            return (await self._get_mirrors(ctx).resolve_ref(url, ref, ssh_key)).sha
        except (NoSuchRef, RepositoryUnreachable, ProjectDeletedError):
            return None

    async def compile_build(self, ctx: Context, build: BuildRow) -> CompiledBuild:
        """Compile the pipeline of a build, or read its spec file as a pipeline with one job, without ids.

        Raises RepositoryUnreachable, NoSuchRef, NoSuchFile, IsADirectoryError, SpecUnreadable, SpecInvalid and
        ProjectDeletedError.
        """
        if is_pipeline(build.project.spec_file_path if build.project else ""):
            return await self._compile_pipeline(ctx, build)
        resolved, content = await self._read_spec_file(ctx, build)
        return CompiledBuild(resolved, Pipeline((single_job(build, parse_spec(content), 0, 0),), ()))

    async def _compile_pipeline(self, ctx: Context, build: BuildRow) -> CompiledBuild:
        resolved, content = await self._read_spec_file(ctx, build)
        default_branch, message = await self._default_branch_and_message(ctx, build, resolved)
        build = await with_initiator_name(ctx, build)
        context = create_context(build, resolved.ref, resolved.sha, ctx.settings.url, default_branch, message)
        secrets = await load_job_secrets(ctx, build.project_id, None)
        if not is_trusted(build, resolved.ref):
            secrets = without_secrets(secrets)
        context = replace(
            context,
            project=with_owner(context.project, secrets),
            secrets={secret.name: secret.value for secret in secrets.secrets},
        )
        pipeline = await self._compile(ctx, build, resolved, content, context)
        return CompiledBuild(resolved, pipeline, default_branch, message)

    async def _plan_pipeline(self, ctx: Context, build: BuildRow) -> PlanBuild:
        compiled = await self._compile_pipeline(ctx, build)
        resolved, pipeline = compiled.resolved, compiled.pipeline
        count = len(pipeline.jobs)
        job_ids, local_ids = await asyncio.gather(
            asyncio.gather(*(ctx.next_id("job") for _ in range(count))),
            asyncio.gather(*(ctx.next_id(f"job of project {build.project_id}") for _ in range(count))),
        )
        numbered = zip(pipeline.jobs, sorted(job_ids), sorted(local_ids), strict=True)
        return PlanBuild(
            build_id=build.id,
            sha=resolved.sha,
            ref=resolved.ref,
            available_steps=(),
            jobs=tuple(with_ids(build, job, job_id, local_id) for job, job_id, local_id in numbered),
            warnings=pipeline.warnings,
            default_branch=compiled.default_branch,
            message=compiled.message,
            served_by_hash=self._is_served_by_hash(build),
        )

    async def _compile(
        self, ctx: Context, build: BuildRow, resolved: ResolvedRef, content: bytes, context: PipelineContext
    ) -> Pipeline:
        """Compile the pipeline, reading included files as the compiler asks for them."""
        while True:
            text = b"\n".join(filter(None, (content, *context.files.values())))
            if context.tree is None or (context.tree.changed_paths is None and b"changes" in text):
                context = replace(context, tree=await self._load_tree(ctx, build, resolved, text))
            try:
                # in a thread, because a long file would block the planning of other builds
                return await asyncio.to_thread(
                    compile_pipeline, content, context, build.timeout_seconds, build.max_attempts
                )
            except IncludesRequired as required:
                contents = {
                    path: await self._read_included(ctx, build, resolved, path) for path in sorted(required.paths)
                }
                context = replace(context, files={**context.files, **contents})

    async def _read_included(self, ctx: Context, build: BuildRow, resolved: ResolvedRef, path: str) -> bytes | None:
        if build.project is None or self._mirrors is None:
            return None
        url, ssh_key = await self._authenticated_url(ctx, build.project)
        try:
            return await self._mirrors.read_file(url, resolved, path, ssh_key)
        except (NoSuchFile, IsADirectoryError):
            return None

    async def _load_tree(
        self, ctx: Context, build: BuildRow, resolved: ResolvedRef, content: bytes
    ) -> RepositoryTree | None:
        """Load the list of files of the commit if the spec file may need it."""
        if build.project is None or self._mirrors is None or not needs_tree(content):
            return None
        url, ssh_key = await self._authenticated_url(ctx, build.project)
        blobs = await self._mirrors.list_files(url, resolved, ssh_key)
        if b"changes" not in content:
            return RepositoryTree(blobs)
        return RepositoryTree(blobs, await self._mirrors.list_changed_paths(url, resolved, build.before_sha, ssh_key))

    async def _default_branch_and_message(
        self, ctx: Context, build: BuildRow, resolved: ResolvedRef
    ) -> tuple[str, str]:
        """Return the name of the default branch (empty if unknown) and the message of the commit."""
        if build.project is None or self._mirrors is None:
            return "", ""
        if build.project.branch == "*" and not build.pinned_sha:
            default = resolved
        else:
            url, ssh_key = await self._authenticated_url(ctx, build.project)
            try:
                default = await self._mirrors.resolve(url, "*", ssh_key)
            except NoSuchRef:
                default = resolved  # the repository has no default branch
        message = await self._mirrors.read_message(build.project.repository, resolved)
        return default.ref.removeprefix("refs/heads/"), message

    def _is_served_by_hash(self, build: BuildRow) -> bool:
        """Return whether runners may fetch the commit by its hash. Call it after the spec file was read."""
        if build.project is None or self._mirrors is None:
            return False
        return self._mirrors.serves_commits(build.project.repository)

    async def _read_spec_file(self, ctx: Context, build: BuildRow) -> tuple[ResolvedRef, bytes]:
        project = build.project
        if project is None:
            raise NoSuchRef("the build has no project")
        mirrors = self._get_mirrors(ctx)
        url, ssh_key = await self._authenticated_url(ctx, project)
        # as in Free Commit, the first slash is dropped wherever it is
        path = project.spec_file_path.replace("/", "", 1)
        if build.pinned_sha:
            resolved = ResolvedRef(build.pinned_sha, build.pinned_ref or f"refs/heads/{project.branch}")
            if resolved.ref.startswith(TAG_REF_PREFIX):
                resolved = await mirrors.peel(url, resolved, ssh_key)
        else:
            branch = (build.pinned_ref or project.branch).removeprefix(BRANCH_REF_PREFIX)
            with child_span("read branch"):
                resolved = await mirrors.resolve(url, branch, ssh_key)
        with child_span("read spec file"):
            return resolved, await mirrors.read_file(url, resolved, path, ssh_key)

    def _get_mirrors(self, ctx: Context) -> GitMirrors:
        if self._mirrors is None:
            folder = ctx.settings.data / "repositories" / ctx.settings.instance
            self._mirrors = GitMirrors(
                folder, ctx.settings.mirror_megabytes * 1024**2, ctx.settings.repository_networks
            )
        return self._mirrors

    async def _authenticated_url(self, ctx: Context, project: LaunchedProject) -> tuple[str, str | None]:
        if git_env.is_local_url(project.repository):
            return project.repository, None
        secrets = await load_job_secrets(ctx, project.project_id, project.repository)
        return git_env.add_credentials(project.repository, secrets.repository_login), secrets.ssh_key
