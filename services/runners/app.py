"""The declaration of the runners service."""

from functools import partial

from contracts.identity import GetCompany
from contracts.projects import GetLaunchSettings
from contracts.runners import (
    AuthenticateRunner,
    GetRunner,
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
from libs.service.declaration import CommandFlow, Handler, PeriodicTask, Service
from services.runners.authorization import authorize
from services.runners.commands import (
    authenticate_runner,
    finish_registration,
    prepare_registration,
    prepare_token_reset,
    record_runner_heartbeat,
    show_runner_token,
)
from services.runners.heartbeats import HeartbeatWriter, purge_heartbeats
from services.runners.metrics import GAUGES
from services.runners.offline_detection import detect_offline
from services.runners.projections import registration_category, runner_category
from services.runners.queries import get_runner, list_runners
from services.runners.registration_tokens import (
    issue_service_token,
    prepare_first_token,
    prepare_reset,
    show_registration_token,
)
from services.runners.workers import WORKERS


def create_service() -> Service:
    heartbeats = HeartbeatWriter()
    return Service(
        "runners",
        categories=(runner_category, registration_category),
        is_public=True,
        hinted_events=(RunnerEdited, RunnerPaused, RunnerDeleted),  # gateways then check held job requests again
        command_flows=(
            CommandFlow(RegisterRunner, prepare_registration, partial(finish_registration, heartbeats)),
            CommandFlow(ResetRunnerToken, prepare_token_reset, show_runner_token),
            CommandFlow(RevealRegistrationToken, prepare_first_token, show_registration_token),
            CommandFlow(ResetRegistrationToken, prepare_reset),
        ),
        handlers=(
            Handler(AuthenticateRunner, partial(authenticate_runner, heartbeats)),
            Handler(RecordRunnerHeartbeat, partial(record_runner_heartbeat, heartbeats)),
            Handler(GetRunner, get_runner),
            Handler(ListRunners, list_runners),
        ),
        authorize=authorize,
        outgoing=(GetCompany, GetLaunchSettings),
        workers=WORKERS,
        gauges=GAUGES,
        periodic_tasks=(
            PeriodicTask("offline_detection", 3.0, detect_offline),
            PeriodicTask("heartbeat_cleanup", 600.0, purge_heartbeats),
        ),
        on_start=issue_service_token,
    )


service = create_service()
