"""What a release leaves to the next one: services stop one after the other, and each misses what happens afterwards.

All of it concerns a project, a runner and a user that are made for it and deleted in the end, so that no answer that
was recorded before changes when the next release does the rest.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from infra.migration import load_services
from libs.messaging.request_reply import connect, disconnect
from tests.releases.changes import delete_resource, patch_resource
from tests.releases.life import Leftovers
from tests.releases.release import RunningRelease
from tests.support import eventually, read_event_ids
from tests.support.in_process.whole_stage import Body, BuildSystem

READ_MESSAGES = 7  # messages that the outside consumer has read of a copy
KEPT_PROJECT = ("project", 2)  # the project whose member is deleted; its history goes on


async def leave_unfinished_work(at_work: RunningRelease, left: Leftovers) -> None:
    here = at_work.system
    bus = await connect(here.settings, "record")
    for stream in ("builds", "runners"):
        left.read[stream] = await read_from_mirror(here, stream)
    dan = await here.create_user("dan")
    await patch_resource(here, f"/api/admin/developers/{dan}/projects", developer={"projects_id": [KEPT_PROJECT[1]]})
    async with unresponsive_server() as port:
        flume = await here.create_project(name="Flume", alias="flume", spec_file_path="/headrace.yaml")
        runner = await here.register_runner(
            "/project/root/flume/runners", name="flumer", tag_list="", run_untagged=True
        )
        running = await here.launch_build(flume)
        job = await runner.wait_for_job()
        silent = f"http://127.0.0.1:{port}/flume.git"
        await patch_resource(here, f"/api/admin/projects/{flume['id']}/repository", project={"repository": silent})
        planned = await here.launch_build(flume)
        await wait_until_pending(bus, "builds", "builds-planner")
        await at_work.stop("builds")
        unpublished = await launch_unpublished_build(at_work, bus, flume)
    await delete_resource(here, f"/api/admin/runners/{runner.uuid}")
    await wait_until_pending(bus, "runners", "builds-dismissed")
    await at_work.stop("runners")
    await delete_resource(here, f"/api/admin/projects/{flume['id']}")
    await wait_until_pending(bus, "projects", "builds-clearing")
    await wait_until_pending(bus, "projects", "runners-leave_project")
    await at_work.stop("projects")
    await delete_resource(here, f"/api/admin/developers/{dan}")
    await wait_until_pending(bus, "identity", "projects-leave_projects")
    await wait_until_pending(bus, "notifications", "notifications-mailer")
    left.unfinished = {
        "project": flume["id"],
        "builds": [running, planned, unpublished],
        "job": job["id"],
        "unpublished": unpublished,
        "user": dan,
        "kept": KEPT_PROJECT[1],
        "recipient": next(iter(at_work.mail_server.rejected_recipients)),
    }
    for service in ("notifications", "identity"):
        await at_work.stop(service)
    await disconnect(bus)


async def read_from_mirror(here: BuildSystem, stream: str) -> Body:
    """As a program outside reads it, up to some message."""
    client = await nats.connect(here.events_url)
    subscription = await client.jetstream().subscribe(f"evt.{stream}.>", stream=stream, ordered_consumer=True)
    for _ in range(READ_MESSAGES):
        message = await subscription.next_msg(timeout=10)
    await client.close()
    return {"sequence": message.metadata.sequence.stream, "event": (message.headers or {})["ce-id"]}


@asynccontextmanager
async def unresponsive_server() -> AsyncIterator[int]:
    """Takes connections and says nothing: who plans a build of a repository there waits."""

    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def launch_unpublished_build(at_work: RunningRelease, bus: Client, project: Body) -> int:
    """A build whose events are in the log and not in JetStream: its replica does not lead, and nobody else does."""

    async def leads(message: Msg) -> None:
        await message.respond(b"the recorder")

    before = len(await read_event_ids(bus, "builds"))
    leader = await bus.subscribe("lead.builds", cb=leads)
    (builds,) = [one for one in load_services() if one.name == "builds"]
    await at_work.start(builds)
    build = await at_work.system.launch_build(project)
    await at_work.stop("builds")
    await leader.unsubscribe()
    assert len(await read_event_ids(bus, "builds")) == before
    return build


async def wait_until_pending(bus: Client, stream: str, durable: str) -> None:
    async def waits() -> bool:
        info = await bus.jetstream().consumer_info(stream, durable)
        return bool(info.num_pending or info.num_ack_pending)

    await eventually(waits)


async def wait_until_idle(bus: Client, is_excluded: Callable[[str], bool] = lambda _durable: False) -> None:
    """No durable consumer has anything left to do."""

    async def idle() -> bool:
        js = bus.jetstream()
        infos = [info for one in load_services() for info in await js.consumers_info(one.name)]
        return not any(
            info.num_pending or info.num_ack_pending
            for info in infos
            if info.config.durable_name and not is_excluded(info.config.durable_name)
        )

    await eventually(idle)
