"""The service builds."""

from contracts import builds as contract
from contracts.projects import GetJobSecrets, GetLaunchSettings, ProjectDeleted
from contracts.runners import NoticeRunner, RunnerDeleted
from libs.service import Service, Ticker, Worker
from services.builds import left, listing, logs, reading, statistics, views, waiting, wishing
from services.builds.artifacts import Artifacts
from services.builds.attempts import Attempts
from services.builds.claiming import Claiming
from services.builds.ending import Ending
from services.builds.files import files_for
from services.builds.fleet import fleet
from services.builds.launching import prepare_build
from services.builds.leases import Leases
from services.builds.measures import MEASURES
from services.builds.planner import Planner
from services.builds.policies import on_build_event
from services.builds.recent_ends import ENDS, UNTIL
from services.builds.reporting import Reporting
from services.builds.retention import Retention

attempts = Attempts()
reporting = Reporting(attempts)
leases = Leases(attempts, reporting)
retention = Retention(attempts)
ending = Ending(attempts)
claiming = Claiming(attempts)
artifacts = Artifacts(files_for)

service = Service(
    "builds",
    categories=(views.build, views.job, views.lane),
    prepare={
        contract.QueueBuild: prepare_build,
        contract.PlanBuild: ending.by_plan,
        contract.FailBuild: ending.by_failure,
        contract.EndJobOfBuild: ending.of_job,
        contract.KillBuild: ending.by_kill,
        contract.PlayJob: wishing.of_job,
        contract.RetryJob: wishing.of_job,
        contract.StopJob: wishing.of_stop,
        contract.RetryBuild: wishing.of_build,
    },
    answers={
        contract.GetBuild: reading.get_build,
        contract.GetJob: reading.get_job,
        contract.ListQueued: waiting.list_queued,
        contract.ListRunning: reading.list_running,
        contract.ListBuildsOfProject: reading.list_builds_of_project,
        contract.ListJobs: listing.JobList().show,
        contract.ListJobsOfBuild: listing.list_jobs_of_build,
        contract.PageDurations: statistics.page_durations,
        contract.ReadLiveLog: logs.read_live_log,
        contract.ReadLog: logs.read_log,
        contract.ReadOutput: reading.read_output,
        contract.ClaimJob: claiming.claim,
        contract.ReturnClaim: claiming.give_back,
        contract.AppendTrace: reporting.append,
        contract.ReportJob: reporting.report,
        contract.BeginArtifact: artifacts.begin,
        contract.AppendArtifact: artifacts.append,
        contract.FinishArtifact: artifacts.finish,
        contract.DiscardArtifact: artifacts.discard,
        contract.GetArtifact: artifacts.get,
        contract.ReadArtifact: artifacts.read,
        contract.ListFiles: left.list_files,
        contract.ReadTrace: left.read_trace,
    },
    calls=(GetJobSecrets, GetLaunchSettings, NoticeRunner),
    public=True,
    hints=(contract.BuildQueued, contract.LaneGranted, contract.JobQueued),
    policies={"builds": on_build_event},
    eager=(contract.BuildPriorityChanged, contract.BuildKilled),
    views=(statistics.durations, fleet),
    measures=MEASURES,
    workers=(
        Worker(
            "planner",
            "builds",
            (contract.BuildQueued, contract.LaneGranted),
            Planner().plan,
            concurrency=8,
            prompt=True,
        ),
        Worker(
            "closing",
            "builds",
            (contract.JobFinished, contract.JobLost, contract.JobRetried),
            leases.conclude,
            concurrency=2,
        ),
        Worker("dismissed", "runners", (RunnerDeleted,), leases.end_jobs_of, prompt=True),
        Worker("retention", "builds", (contract.BuildFinished,), retention.keep_newest, concurrency=2),
        Worker("removal", "builds", (contract.JobDeleted,), retention.remove, concurrency=2),
        Worker("artifacts", "builds", (contract.ArtifactRemoved, contract.JobDeleted), artifacts.clear, concurrency=2),
        Worker("clearing", "projects", (ProjectDeleted,), retention.clear, concurrency=2),
    ),
    tickers=(
        Ticker("leases", 1.0, leases.look_after),
        Ticker("overdue", 10.0, leases.look_for_overdue),
        Ticker("artifacts", 5.0, artifacts.look_after),
    ),
    passing={ENDS: UNTIL},
    indexes={
        "attempts": (("job_id",), ("build_id",), ("finished", "lease_until")),
        "log_chunks": (("attempt", "section", "lines", "offset", "place"),),
        "artifacts": (("job_id",), ("recorded", "expire_at"), ("recorded", "touched_at")),
    },
    unique_indexes={"file_pieces": ("file", "offset")},
)
