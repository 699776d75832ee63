from functools import partial

from contracts.runners import (
    AuthenticateRunner,
    GetRunner,
    IssueRegistrationToken,
    ListRunners,
    RecordRunnerHeartbeat,
    RegisterRunner,
    ResetRegistrationToken,
    ResetRunnerToken,
    RevealRegistrationToken,
    RunnerDeleted,
    RunnerEdited,
    RunnerPaused,
)
from libs.service.declaration import Enricher, Handler, PeriodicTask, Service
from services.runners.commands import authenticate_runner, record_runner_heartbeat, register_runner, reset_runner_token
from services.runners.heartbeats import HeartbeatWriter, purge_heartbeats
from services.runners.metrics import GAUGES
from services.runners.offline_detection import detect_offline
from services.runners.projections import registration_category, runner_category
from services.runners.queries import get_runner, list_runners
from services.runners.registration_tokens import (
    issue_service_token,
    prepare_registration_token,
    reveal_registration_token,
)
from services.runners.workers import WORKERS


def create_service() -> Service:
    heartbeats = HeartbeatWriter()
    return Service(
        "runners",
        categories=(runner_category, registration_category),
        is_public=True,
        hinted_events=(RunnerEdited, RunnerPaused, RunnerDeleted),  # gateways then check held job requests again
        enrichers=(
            Enricher(IssueRegistrationToken, prepare_registration_token),
            Enricher(ResetRegistrationToken, prepare_registration_token),
        ),
        handlers=(
            Handler(RegisterRunner, partial(register_runner, heartbeats)),
            Handler(ResetRunnerToken, reset_runner_token),
            Handler(AuthenticateRunner, partial(authenticate_runner, heartbeats)),
            Handler(RecordRunnerHeartbeat, partial(record_runner_heartbeat, heartbeats)),
            Handler(GetRunner, get_runner),
            Handler(ListRunners, list_runners),
            Handler(RevealRegistrationToken, reveal_registration_token),
        ),
        workers=WORKERS,
        gauges=GAUGES,
        periodic_tasks=(
            PeriodicTask("offline_detection", 3.0, detect_offline),
            PeriodicTask("heartbeat_cleanup", 600.0, purge_heartbeats),
        ),
        on_start=issue_service_token,
    )


service = create_service()
