"""Routes of builds, the queue and logs."""

from contracts.builds import (
    ChangeBuildPriority,
    DeleteBuild,
    GetBuild,
    GetBuildOutput,
    GetLiveLog,
    ListQueuedBuilds,
    ListRunningBuilds,
    QueueBuild,
)
from gateway.adapters.free_commit import handlers as actions
from gateway.adapters.free_commit import models as fc
from gateway.framework.fields import integer
from gateway.framework.route_table import Shown, command, own, query
from gateway.routes.route_builders import patch_field
from libs.messaging.request_reply import ReturnQuery

BUILDS = (
    command(
        "POST",
        "/developer/builds/{project_id:id}",
        QueueBuild,
        body=fc.LAUNCH,
        parts=(fc.add_launch_source,),
        write=fc.LAUNCHED,
        errors=("LAUNCH_BUILD_NOT_ALLOWED",),
    ),
    query("/developer/builds/queueds", ListQueuedBuilds, write=fc.QUEUEDS, poll=True),
    query("/developer/builds/executeds", ListRunningBuilds, write=fc.EXECUTEDS, poll=True),
    query("/developer/builds/{build_id:id}", GetBuild, write=fc.ONE_BUILD),
    own("GET", "/developer/builds/by/project/{project_id:id}", actions.list_project_builds, write=fc.BUILDS),
    query("/developer/builds/output/{executor_id}", GetBuildOutput, write=fc.OUTPUT),
    # `path`: step names may contain slashes. Logs of queued or running builds have another route, by executor id.
    own(
        "GET",
        "/developer/logs/{build_id:id}/{step:path}",
        actions.get_build_log,
        write=fc.LOG,
        errors=("LOG_NOT_FOUND",),
    ),
    query(
        "/developer/logs/{executor_id}/{step:path}/{line_number}",
        GetLiveLog,
        parts=(fc.read_line_number,),
        write=fc.LIVE_LOG,
        errors=("REQUEST_MALFORMED", "BUILD_NOT_FOUND", "LOG_NOT_FOUND"),
    ),
    own("DELETE", "/developer/builds/kill/queued/{executor_id}", actions.kill_build, status=204),
    own("DELETE", "/developer/builds/kill/executed/{executor_id}", actions.kill_build, status=204),
    patch_field(
        "/admin/builds/{build_id:id}",
        "build",
        "priority",
        ChangeBuildPriority,
        shows=Shown(ReturnQuery(GetBuild, "build_id"), fc.ONE_BUILD),
        errors=("BUILD_STATUS",),
        priority=integer.needed(),
    ),
    command("DELETE", "/admin/builds/{build_id:id}", DeleteBuild, status=204, errors=("BUILD_STATUS",)),
)
