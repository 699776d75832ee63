"""The declaration of the builds service: its messages, workers, projections, periodic tasks and indexes."""

from contracts import builds as contract
from contracts.identity import GetUsernames
from contracts.projects import GetJobSecrets, GetLaunchSettings, ListHiddenProjects, ProjectDeleted, ProjectMoved
from contracts.runners import RecordRunnerHeartbeat, RunnerDeleted
from libs.permissions.projections import company_members_projection, project_access_projection
from libs.projections.paging import formerly
from libs.service.declaration import CommandFlow, Handler, PeriodicTask, Policy, Service, Worker
from services.builds import projections
from services.builds.artifacts import job_files
from services.builds.artifacts.artifact_storage import create_blob_store
from services.builds.artifacts.artifacts import Artifacts
from services.builds.dispatch.job_dispatch import JobDispatcher
from services.builds.dispatch.runner_projection import runner_projection
from services.builds.domain.internal_commands import EndJobOfBuild, FailBuild, PlanBuild
from services.builds.execution import build_completion, erased_owners, job_authorization
from services.builds.execution.attempts import AttemptStore
from services.builds.execution.leases import Leases
from services.builds.execution.recent_ends import READABLE_UNTIL, RECENT_ENDS
from services.builds.execution.runner_reports import RunnerReports
from services.builds.logs import log_excerpts, log_queries
from services.builds.metrics import GAUGES, create_recorder
from services.builds.planning.dry_plan import DryPlanner
from services.builds.planning.launch import prepare_launch
from services.builds.planning.planner import Planner
from services.builds.policies import on_build_event
from services.builds.queries import (
    authorization,
    build_lists,
    build_overview,
    build_queries,
    build_statistics,
    fleet_queries,
    job_queries,
    queue_queries,
    statistics,
)
from services.builds.reports.report_import import ReportImport
from services.builds.reports.report_queries import list_build_tests
from services.builds.reports.report_statistics import get_test_statistics
from services.builds.retention.data_removal import enforce_limits
from services.builds.retention.surplus_builds import Retention
from services.builds.statistics_projections import build_days, job_months

attempts = AttemptStore()
runner_reports = RunnerReports(attempts)
leases = Leases(attempts, runner_reports)
retention = Retention(attempts)
job_dispatcher = JobDispatcher(attempts)
planner = Planner()
artifacts = Artifacts(create_blob_store)
report_import = ReportImport(artifacts)

service = Service(
    "builds",
    categories=(projections.build_category, projections.job_category, projections.concurrency_group_category),
    command_flows=(
        CommandFlow(contract.QueueBuild, prepare_launch),
        CommandFlow(PlanBuild, build_completion.prepare_plan),
        CommandFlow(FailBuild, build_completion.prepare_failure),
        CommandFlow(EndJobOfBuild, build_completion.prepare_job_result),
        CommandFlow(contract.KillBuild, build_completion.prepare_kill),
        CommandFlow(contract.PlayJob, job_authorization.prepare_play),
        CommandFlow(contract.RetryJob, job_authorization.prepare_retry),
        CommandFlow(contract.CancelBuildJob, job_authorization.prepare_cancel),
        CommandFlow(contract.RetryBuild, job_authorization.prepare_build_retry),
    ),
    handlers=(
        Handler(contract.GetBuild, build_queries.get_build),
        Handler(contract.GetJob, build_queries.get_job),
        Handler(contract.GetFleet, fleet_queries.get_fleet),
        Handler(contract.ListBuilds, build_lists.list_builds),
        Handler(contract.ListRecentBuilds, build_lists.list_recent_builds),
        Handler(contract.GetPreviousResult, build_queries.get_previous_result),
        Handler(contract.GetBuildOverview, build_overview.get_build_overview),
        Handler(contract.ListQueuedBuilds, formerly("", queue_queries.list_queued_builds)),
        Handler(contract.ListRunningBuilds, formerly("", build_queries.list_running_builds)),
        Handler(contract.ListProjectBuilds, build_queries.list_project_builds),
        Handler(contract.ListJobs, job_queries.ListJobsHandler().list_jobs),
        Handler(contract.ListBuildJobs, job_queries.list_build_jobs),
        Handler(contract.ListBuildDurations, statistics.list_build_durations),
        Handler(contract.PlanProject, DryPlanner(planner).plan_project),
        Handler(contract.GetBuildStatistics, build_statistics.get_build_statistics),
        Handler(contract.GetBuildCoverage, build_overview.get_build_coverage),
        Handler(contract.ListBuildTests, list_build_tests),
        Handler(contract.GetTestStatistics, get_test_statistics),
        Handler(contract.GetLiveLog, log_queries.get_live_log),
        Handler(contract.GetLogSection, log_queries.get_log_section),
        Handler(contract.GetBuildOutput, build_queries.get_build_output),
        Handler(contract.ClaimJob, job_dispatcher.claim),
        Handler(contract.ReturnClaim, job_dispatcher.return_claim),
        Handler(contract.AppendTrace, runner_reports.append_log),
        Handler(contract.ReportJob, runner_reports.report_status),
        Handler(contract.StartArtifactUpload, artifacts.start_upload),
        Handler(contract.AppendArtifactUpload, artifacts.append_upload),
        Handler(contract.FinishArtifactUpload, artifacts.finish_upload),
        Handler(contract.DiscardArtifactUpload, artifacts.discard_upload),
        Handler(contract.GetArtifact, artifacts.get_artifact),
        Handler(contract.GetArtifactChunk, artifacts.get_artifact_chunk),
        Handler(contract.ListJobFiles, job_files.list_job_files),
        Handler(contract.GetTrace, job_files.get_trace),
        Handler(contract.GetLogLines, log_excerpts.get_log_lines),
        Handler(contract.GetProjectAccess, authorization.get_project_access),
    ),
    authorize=authorization.authorize,
    outgoing=(GetJobSecrets, GetLaunchSettings, GetUsernames, ListHiddenProjects, RecordRunnerHeartbeat),
    is_public=True,
    hinted_events=(contract.JobQueued,),
    offered_events=(contract.JobQueued,),  # one gateway then wakes a held job request
    policies=(
        Policy(
            "builds",
            on_build_event,
            now=True,
            before_reply=(contract.BuildPriorityChanged, contract.BuildKilled),
            same_commit=(EndJobOfBuild,),
        ),
    ),
    projections=(
        statistics.monthly_durations,
        statistics.project_durations,
        build_days,
        job_months,
        runner_projection,
        project_access_projection,
        company_members_projection,
    ),
    gauges=GAUGES,
    event_recorder=create_recorder,
    workers=(
        Worker(
            "planner",
            "builds",
            (contract.BuildQueued, contract.ConcurrencySlotGranted),
            planner.plan_build,
            concurrency=8,
            now=True,
        ),
        Worker(
            "closing",
            "builds",
            (contract.JobFinished, contract.JobLost, contract.JobRetried),
            leases.close_attempt,
            concurrency=2,
        ),
        Worker("dismissed", "runners", (RunnerDeleted,), leases.end_jobs_of_runner),
        Worker("retention", "builds", (contract.BuildFinished,), retention.enforce, concurrency=2),
        Worker("removal", "builds", (contract.JobDeleted,), retention.purge_job, concurrency=2),
        Worker("artifacts", "builds", (contract.ArtifactRemoved, contract.JobDeleted), artifacts.purge, concurrency=2),
        Worker(
            "test_reports", "builds", (contract.ArtifactUploaded,), report_import.import_report, concurrency=2, now=True
        ),
        Worker("clearing", "projects", (ProjectDeleted,), retention.purge_project, concurrency=2),
        Worker("erased_owners", "projects", (ProjectMoved,), erased_owners.erase_owner_name, concurrency=1),
    ),
    periodic_tasks=(
        PeriodicTask("leases", 1.0, leases.expire_leases),
        PeriodicTask("overdue", 10.0, leases.enforce_timeouts),
        PeriodicTask("artifacts", 5.0, artifacts.expire_artifacts),
        PeriodicTask("age_limits", 600.0, enforce_limits),
    ),
    ttl_collections={RECENT_ENDS: READABLE_UNTIL},
    indexes={
        "attempts": (("job_id",), ("build_id",), ("finished", "lease_until")),
        "log_chunks": (("attempt", "section", "lines", "offset", "place"),),
        "test_reports": (("job_id",), ("project_id", "build_id")),
        "artifacts": (("job_id",), ("recorded", "expire_at"), ("recorded", "touched_at")),
    },
    unique_indexes={"file_pieces": ("file", "offset")},
)
