"""Builds, the queue and logs."""

from contracts.builds import (
    ChangeBuildPriority,
    DeleteBuild,
    GetBuild,
    ListQueued,
    ListRunning,
    QueueBuild,
    ReadLiveLog,
    ReadOutput,
)
from gateway.dialects import free_commit as fc
from gateway.dialects import free_commit_actions as actions
from gateway.fields import integer
from gateway.routes.patching import change
from gateway.routing import Shown, command, own, query
from libs.messaging import Showing

BUILDS = (
    command(
        "POST",
        "/developer/builds/{project_id:id}",
        QueueBuild,
        body=fc.LAUNCH,
        parts=(fc.launched_from,),
        write=fc.LAUNCHED,
        errors=("LAUNCH_BUILD_NOT_ALLOWED",),
    ),
    query("/developer/builds/queueds", ListQueued, write=fc.QUEUEDS, poll=True),
    query("/developer/builds/executeds", ListRunning, write=fc.EXECUTEDS, poll=True),
    query("/developer/builds/{build_id:id}", GetBuild, write=fc.ONE_BUILD),
    own("GET", "/developer/builds/by/project/{project_id:id}", actions.builds_of_project, write=fc.BUILDS),
    query("/developer/builds/output/{executor_id}", ReadOutput, write=fc.OUTPUT),
    # a step may have any name, with slashes in it; what runs has no number for an id
    own(
        "GET",
        "/developer/logs/{build_id:id}/{step:path}",
        actions.log_of_build,
        write=fc.LOG,
        errors=("LOG_NOT_FOUND",),
    ),
    query(
        "/developer/logs/{executor_id}/{step:path}/{line_number}",
        ReadLiveLog,
        parts=(fc.line_number,),
        write=fc.LIVE_LOG,
        errors=("REQUEST_MALFORMED", "BUILD_NOT_FOUND", "LOG_NOT_FOUND"),
    ),
    own("DELETE", "/developer/builds/kill/queued/{executor_id}", actions.kill, status=204),
    own("DELETE", "/developer/builds/kill/executed/{executor_id}", actions.kill, status=204),
    change(
        "/admin/builds/{build_id:id}",
        "build",
        "priority",
        ChangeBuildPriority,
        shows=Shown(Showing(GetBuild, "build_id"), fc.ONE_BUILD),
        errors=("BUILD_STATUS",),
        priority=integer.needed(),
    ),
    command("DELETE", "/admin/builds/{build_id:id}", DeleteBuild, status=204, errors=("BUILD_STATUS",)),
)
