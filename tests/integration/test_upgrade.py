"""Today's code on the databases that earlier releases left: it answers what they answered, and goes on working."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest
from nats.js.api import ConsumerConfig, DeliverPolicy

from agent.config import Config
from agent.runner import run
from infra.migrate import all_services
from tests.golden import answers
from tests.golden.differences import GONE, Difference, differences, unexpected
from tests.golden.dump import STREAMS
from tests.golden.life import PASSWORD, SECRET, SPEC
from tests.golden.record import FOLDER
from tests.golden.unfinished import settled
from tests.integration.upgraded_stage import Upgraded, durables, upgraded
from tests.support import event_ids, eventually, stored
from tests.support.repositories import sample_repository

RELEASES = sorted(folder.name for folder in FOLDER.iterdir() if any(folder.glob("answers.json*")))
with_streams = pytest.mark.parametrize(
    "here", [one for one in RELEASES if (FOLDER / one / STREAMS).exists()], indirect=True
)

# names of the events that today's code records without being asked, and how many
DONE_ONCE = {
    "BuildFinished": 3,  # of the deleted project: one on a deleted runner, one whose planning hung, one unpublished
    "BuildDeleted": 3,
    "JobFinished": 1,
    "JobDeleted": 1,
    "NotificationRequested": 3,  # for these builds
    "NotificationSkipped": 3,  # their launcher has no address
    "NotificationSent": 1,  # what was refused before
    "ProjectDevelopersChosen": 1,
    "RegistrationTokenWithdrawn": 1,
}
IN_BETWEEN = {"BuildKilled", "JobLost", "JobQueued"}  # depending on which durable consumer is first
LOOKS = {"SecretRevealed", "CredentialRevealed"}  # of the comparison of answers


@pytest.fixture(scope="module", params=RELEASES)
async def here(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Upgraded]:
    async with upgraded(request.param, tmp_path_factory.mktemp("data")) as here:
        yield here


def test_the_releases_that_were_recorded_are_compared() -> None:
    assert RELEASES == ["0.1.0", "0.2.0"]


def test_a_member_that_was_null_and_is_gone_is_a_difference() -> None:
    assert list(differences({"a": [{"b": None}]}, {"a": [{}], "c": 1})) == [Difference(".a[0].b", None, GONE)]


async def work_done(here: Upgraded) -> None:
    """Wait until pending work is done. The clearing of a deleted project looks for late builds for some time more."""
    async with here.stage.connected() as bus:
        await settled(bus, but=lambda durable: durable == "builds-clearing")
    admin = await here.log_in("root")

    async def cleared() -> bool:
        paths = [f"/api/developer/builds/{build}" for build in here.left.unfinished.get("builds", ())]
        return all([(await here.http.get(path, headers=admin)).status_code == 404 for path in paths])

    await eventually(cleared, within=60)


async def test_every_answer_is_what_it_was(here: Upgraded) -> None:
    admin = await here.log_in("root")
    await work_done(here)
    found: list[Difference] = []
    for path, before in here.answers.items():
        now = await answers.ask(here.http, path, admin)
        found += differences(answers.lasting(before), now, path)
    assert unexpected(here.release, found) == []


async def test_people_and_their_tokens_come_in_as_before(here: Upgraded) -> None:
    await here.log_in("ada")
    statuses = [
        (await here.http.get("/api/developer/projects", headers={"Authorization": f"Bearer {token}"})).status_code
        for token in here.left.tokens.values()
    ]
    assert statuses == [200, 401]  # the second one was revoked


async def test_every_event_is_published_once_and_those_that_were_stay_where_they_were(here: Upgraded) -> None:
    async with here.stage.connected() as bus:
        for service in all_services():

            async def complete(name: str = service.name) -> bool:
                return await here.recorded(name) <= set(await event_ids(bus, name))

            await eventually(complete, within=20)
            published = await event_ids(bus, service.name)
            before = here.published[service.name]
            assert len(set(published)) == len(published)
            assert published[: len(before)] == before


@with_streams
async def test_work_that_was_pending_is_done_once(here: Upgraded) -> None:
    """A project, its runner and a member of another one were deleted, a mail was refused: see unfinished.py."""
    left = here.left.unfinished
    admin = await here.log_in("root")
    await work_done(here)
    new = await here.new_events()
    assert {name: new[name] for name in DONE_ONCE} == DONE_ONCE
    assert set(new) <= {*DONE_ONCE, *IN_BETWEEN, *LOOKS}
    assert len(here.post_office.to(left["recipient"])) == 1
    for path in (f"projects/{left['project']}", *(f"builds/{build}" for build in left["builds"])):
        assert (await here.http.get(f"/api/developer/{path}", headers=admin)).status_code == 404
    kept = (await here.http.get(f"/api/admin/projects/{left['kept']}", headers=admin)).json()
    assert left["user"] not in kept["developers_id"]


@with_streams
async def test_durable_consumers_are_those_that_were_there(here: Upgraded) -> None:
    """One that is deleted and created again would start with the first event."""
    async with here.stage.connected() as bus:
        created = await durables(bus)
    assert {name: created.get(name) for name in here.durables} == here.durables


@with_streams
async def test_outside_consumers_read_their_copies_on(here: Upgraded) -> None:
    client = await nats.connect(here.servers.nats_for("consumer"))
    async with here.stage.connected() as bus:
        for stream, last in here.left.read.items():
            originals = [(message.headers or {})["ce-id"] for message in await stored(bus, stream)]
            assert originals[last["sequence"] - 1] == last["event"]
            config = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=last["sequence"] + 1)
            subscription = await client.jetstream().subscribe(
                f"evt.{stream}.>", stream=stream, ordered_consumer=True, config=config
            )
            read = [await subscription.next_msg(timeout=10) for _ in originals[last["sequence"] :]]
            assert [(message.headers or {})["ce-id"] for message in read] == originals[last["sequence"] :]
            assert [message.metadata.sequence.stream for message in read] == [
                *range(last["sequence"] + 1, len(originals) + 1)
            ]
    await client.close()


@with_streams
async def test_who_guessed_too_often_still_waits(here: Upgraded) -> None:
    guess = {"auth": {"username": here.left.locked_out, "password": PASSWORD}}
    assert (await here.http.post("/api/auth/token", json=guess)).status_code == 429


@with_streams
async def test_a_lane_that_was_held_is_released(here: Upgraded) -> None:
    """The build that holds it is killed, and the one that waited goes on; its repository is gone."""
    admin = await here.log_in("root")
    holds = (await here.http.get(f"/api/developer/builds/{here.left.lane['holds']}", headers=admin)).json()
    path = f"/api/developer/builds/kill/queued/{holds['executor_id']}"
    assert (await here.http.delete(path, headers=admin)).status_code == 204

    async def over() -> bool:
        waited = (await here.http.get(f"/api/developer/builds/{here.left.lane['waits']}", headers=admin)).json()
        return bool(waited["completed_at"] and waited["exit_message"])

    await eventually(over)


async def test_a_job_that_was_running_goes_on_and_ends(here: Upgraded) -> None:
    job, text = here.left.running, f"the other half with {SECRET}\n".encode()
    headers = {"JOB-TOKEN": job["token"], "Content-Range": f"{job['length']}-{job['length'] + len(text) - 1}"}
    answer = await here.http.patch(f"/api/v4/jobs/{job['id']}/trace", content=text, headers=headers)
    assert answer.status_code == 202, answer.text
    end = {"token": job["token"], "state": "success"}
    assert (await here.http.put(f"/api/v4/jobs/{job['id']}", json=end)).status_code == 200
    admin, (running,) = await here.log_in("root"), here.answers["/api/developer/builds/executeds"]

    async def over() -> bool:
        shown = await here.http.get(f"/api/developer/builds/{running['build_id']}", headers=admin)
        return bool(shown.json()["completed_at"])

    await eventually(over)
    log = (await here.http.get(f"/api/developer/logs/{running['build_id']}/-1", headers=admin)).json()["log"]
    assert log == f"half of the log\nthe other half with {'*' * len(SECRET)}"


async def test_old_and_new_builds_of_an_old_project_run_on_its_old_runner(here: Upgraded, tmp_path: Path) -> None:
    """The repository of the recording is gone: what was queued fails in words, what is launched now succeeds."""
    admin, project = await here.log_in("root"), here.left.project
    scripts = {"build": "echo turning with $MILL_KEY\n", "test": "exit 0\n", "cleanup": "exit 0\n"}
    repository = {"repository": str(sample_repository(tmp_path / "repository", scripts, SPEC))}
    changed = await here.http.patch(
        f"/api/admin/projects/{project}/repository", headers=admin, json={"project": repository}
    )
    assert changed.status_code == 200, changed.text
    launched = await here.http.post(f"/api/developer/builds/{project}", headers=admin)
    builds = [here.left.queued, launched.json()["build_id"]]
    url, token = str(here.http.base_url), here.left.runners["miller"]
    config = Config(url=url, token=token, id=1, name="miller", system_id="s", builds_dir=str(tmp_path / "builds"))

    async def over() -> bool:
        await run(config, stop=asyncio.Event(), once=True)
        shown = [(await here.http.get(f"/api/developer/builds/{one}", headers=admin)).json() for one in builds]
        return all(one["completed_at"] for one in shown)

    await eventually(over, within=60)
    codes = [(await here.http.get(f"/api/developer/builds/{one}", headers=admin)).json()["exit_code"] for one in builds]
    log = (await here.http.get(f"/api/developer/logs/{builds[1]}/init", headers=admin)).json()["log"]
    assert (codes[0] != 0, codes[1], "turning with [MASKED]" in log) == (True, 0, True)
