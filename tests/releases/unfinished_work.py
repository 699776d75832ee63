"""Unfinished work: services are stopped one after another, so that events recorded later stay unhandled.

The work concerns a project, a runner and a user that are deleted at the end. The recorded responses therefore stay
valid after the next release has finished the work.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from infra.service_catalog import load_services
from libs.messaging.nats_connection import connect, disconnect
from tests.releases.changes import delete_resource, patch_resource
from tests.releases.history import Leftovers
from tests.releases.release import RunningRelease
from tests.support import read_event_ids
from tests.support.in_process.build_system import Body, BuildSystem
from tests.support.waiting import eventually

READ_MESSAGES = 7  # messages that the external consumer reads
# The next release removes a deleted member from this project, which adds an event to the project's history.
REMAINING_PROJECT = ("project", 2)


async def leave_unfinished_work(release: RunningRelease, leftovers: Leftovers) -> None:
    system = release.system
    bus = await connect(system.settings, "record")
    for stream in ("builds", "runners"):
        leftovers.read[stream] = await read_from_mirror(system, stream)
    dan = await system.create_user("dan")
    await patch_resource(
        system, f"/api/admin/developers/{dan}/projects", developer={"projects_id": [REMAINING_PROJECT[1]]}
    )
    async with unresponsive_server() as port:
        flume = await system.create_project(name="Flume", alias="flume", spec_file_path="/headrace.yaml")
        runner = await system.register_runner(
            "/project/root/flume/runners", name="flumer", tag_list="", run_untagged=True
        )
        running = await system.launch_build(flume)
        job = await runner.wait_for_job()
        silent = f"http://127.0.0.1:{port}/flume.git"
        await patch_resource(system, f"/api/admin/projects/{flume['id']}/repository", project={"repository": silent})
        planned = await system.launch_build(flume)
        await wait_until_pending(bus, "builds", "builds-planner")
        await release.stop("builds")
        unpublished = await launch_unpublished_build(release, bus, flume)
    await delete_resource(system, f"/api/admin/runners/{runner.uuid}")
    await wait_until_pending(bus, "runners", "builds-dismissed")
    await release.stop("runners")
    await delete_resource(system, f"/api/admin/projects/{flume['id']}")
    await wait_until_pending(bus, "projects", "builds-clearing")
    await wait_until_pending(bus, "projects", "runners-leave_project")
    await release.stop("projects")
    await delete_resource(system, f"/api/admin/developers/{dan}")
    await wait_until_pending(bus, "identity", "projects-leave_projects")
    await wait_until_pending(bus, "notifications", "notifications-mailer")
    leftovers.unfinished = {
        "project": flume["id"],
        "builds": [running, planned, unpublished],
        "job": job["id"],
        "unpublished": unpublished,
        "user": dan,
        "kept": REMAINING_PROJECT[1],
        "recipient": next(iter(release.mail_server.rejected_recipients)),
    }
    for service in ("notifications", "identity"):
        await release.stop(service)
    await disconnect(bus)


async def read_from_mirror(system: BuildSystem, stream: str) -> Body:
    """Read the first messages of a mirror as an external program does. Return the last message."""
    client = await nats.connect(system.events_url)
    subscription = await client.jetstream().subscribe(f"evt.{stream}.>", stream=stream, ordered_consumer=True)
    for _ in range(READ_MESSAGES):
        message = await subscription.next_msg(timeout=10)
    await client.close()
    return {"sequence": message.metadata.sequence.stream, "event": (message.headers or {})["ce-id"]}


@asynccontextmanager
async def unresponsive_server() -> AsyncIterator[int]:
    """Yield a port that accepts connections without responding: planning a build of a repository there hangs."""

    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def launch_unpublished_build(release: RunningRelease, bus: Client, project: Body) -> int:
    """Start `builds`, launch a build, and stop `builds`. A fake leader prevents it from publishing the events."""

    async def leads(message: Msg) -> None:
        await message.respond(b"the recorder")

    before = len(await read_event_ids(bus, "builds"))
    leader = await bus.subscribe("lead.builds", cb=leads)
    (builds,) = [service for service in load_services() if service.name == "builds"]
    await release.start(builds)
    build = await release.system.launch_build(project)
    await release.stop("builds")
    await leader.unsubscribe()
    assert len(await read_event_ids(bus, "builds")) == before
    return build


async def wait_until_pending(bus: Client, stream: str, durable: str) -> None:
    async def is_pending() -> bool:
        info = await bus.jetstream().consumer_info(stream, durable)
        return bool(info.num_pending or info.num_ack_pending)

    await eventually(is_pending)


async def wait_until_idle(bus: Client, is_excluded: Callable[[str], bool] = lambda _durable: False) -> None:
    """Wait until no durable consumer has pending or unacknowledged messages, except the excluded consumers."""

    async def are_idle() -> bool:
        js = bus.jetstream()
        infos = [info for service in load_services() for info in await js.consumers_info(service.name)]
        return not any(
            info.num_pending or info.num_ack_pending
            for info in infos
            if info.config.durable_name and not is_excluded(info.config.durable_name)
        )

    await eventually(are_idle)
