"""The current code on data of earlier releases.

Its responses equal the recorded ones, except for deliberate differences, and it finishes pending work.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest
from nats.js.api import ConsumerConfig, DeliverPolicy

from agent.config import Config
from agent.runner import run
from infra.service_catalog import load_services
from libs.privacy.redaction import NAMED_ACTORS
from libs.service.connections import create_mongo_client, get_database
from tests.releases import answers
from tests.releases.differences import MISSING, Difference, find_differences, list_unexpected
from tests.releases.dump import STREAMS_FILE
from tests.releases.history import PASSWORD, SECRET, SPEC
from tests.releases.record import FOLDER
from tests.releases.unfinished_work import wait_until_idle
from tests.support import read_event_ids, read_stream_messages
from tests.support.external.repositories import create_sample_repository
from tests.support.in_process.upgraded_system import UpgradedSystem, list_durables, upgraded_system
from tests.support.waiting import eventually

RELEASES = sorted(folder.name for folder in FOLDER.iterdir() if any(folder.glob("answers.json*")))
with_streams = pytest.mark.parametrize(
    "upgraded", [release for release in RELEASES if (FOLDER / release / STREAMS_FILE).exists()], indirect=True
)

# number of events that the current code records on its own after the upgrade
EXPECTED_NEW_EVENTS = {
    "BuildFinished": 3,  # all builds of the deleted project: one on a deleted runner, one in planning, one unpublished
    "BuildDeleted": 3,
    "JobFinished": 1,
    "JobDeleted": 1,
    "NotificationRequested": 3,  # one for each BuildFinished event
    "NotificationSkipped": 3,  # the initiator has no e-mail address
    "NotificationSent": 1,  # the e-mail that was rejected while the old release ran
    "ProjectDevelopersChosen": 1,
    "RegistrationTokenWithdrawn": 1,
}
# Recorded or not, depending on which durable consumer continues first.
OPTIONAL_NEW_EVENTS = {"BuildKilled", "JobLost", "JobQueued"}
SECRET_ACCESS_EVENTS = {"SecretRevealed", "CredentialRevealed"}  # recorded because the test reads secrets


@pytest.fixture(scope="module", params=RELEASES)
async def upgraded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[UpgradedSystem]:
    async with upgraded_system(request.param, tmp_path_factory.mktemp("data")) as stage:
        yield stage


def test_all_recorded_releases_are_tested() -> None:
    assert RELEASES == ["0.1.0", "0.2.0"]


def test_a_missing_field_that_was_null_is_a_difference() -> None:
    assert list(find_differences({"a": [{"b": None}]}, {"a": [{}], "c": 1})) == [Difference(".a[0].b", None, MISSING)]


async def wait_for_pending_work(upgraded: UpgradedSystem) -> None:
    """Wait until all workers are idle and the builds of the deleted project are gone.

    The worker `builds-clearing` is excluded: it repeats the purge of a deleted project for some time.
    """
    async with upgraded.stage.connected() as bus:
        await wait_until_idle(bus, is_excluded=lambda durable: durable == "builds-clearing")
    admin = await upgraded.log_in("root")

    async def is_cleared() -> bool:
        paths = [f"/api/developer/builds/{build}" for build in upgraded.left.unfinished.get("builds", ())]
        return all([(await upgraded.http.get(path, headers=admin)).status_code == 404 for path in paths])

    await eventually(is_cleared, within=60)


async def test_after_an_upgrade_every_response_equals_the_recorded_one(upgraded: UpgradedSystem) -> None:
    admin = await upgraded.log_in("root")
    await wait_for_pending_work(upgraded)

    async def list_differences() -> list[str]:
        found: list[Difference] = []
        for path, before in upgraded.answers.items():
            now = await answers.fetch(upgraded.http, path, admin)
            found += find_differences(answers.without_volatile_members(before), now, path)
        return list_unexpected(upgraded.release, found)

    # projections of other services' events may lag behind, and a busy machine takes a minute for all responses
    await eventually(list_differences, until=lambda differences: differences == [], within=200)


async def test_after_an_upgrade_the_event_logs_contain_no_names_of_actors_and_initiators(
    upgraded: UpgradedSystem,
) -> None:
    named = {"$or": [NAMED_ACTORS, {"events.data.initiator_name": {"$gt": ""}}]}

    async def count_named() -> int:
        async with create_mongo_client(upgraded.stage.settings, "test") as client:
            databases = [get_database(client, upgraded.stage.settings, service.name) for service in load_services()]
            return sum([await database["commits"].count_documents(named) for database in databases])

    await eventually(count_named, until=lambda count: count == 0, within=60)


async def test_after_an_upgrade_users_and_personal_tokens_authenticate_as_before(upgraded: UpgradedSystem) -> None:
    await upgraded.log_in("ada")
    statuses = [
        (await upgraded.http.get("/api/developer/projects", headers={"Authorization": f"Bearer {token}"})).status_code
        for token in upgraded.left.tokens.values()
    ]
    assert statuses == [200, 401]


async def test_after_an_upgrade_events_are_published_once_and_keep_their_positions(upgraded: UpgradedSystem) -> None:
    async with upgraded.stage.connected() as bus:
        for service in load_services():

            async def is_complete(name: str = service.name) -> bool:
                return await upgraded.recorded_event_ids(name) <= set(await read_event_ids(bus, name))

            await eventually(is_complete, within=20)
            published = await read_event_ids(bus, service.name)
            before = upgraded.published[service.name]
            assert len(set(published)) == len(published)
            assert published[: len(before)] == before


@with_streams
async def test_after_an_upgrade_pending_work_is_done_once(upgraded: UpgradedSystem) -> None:
    """The old release stopped after three deletions (project, runner, project member) and a rejected e-mail."""
    left = upgraded.left.unfinished
    admin = await upgraded.log_in("root")
    await wait_for_pending_work(upgraded)
    new = await upgraded.new_events()
    assert {name: new[name] for name in EXPECTED_NEW_EVENTS} == EXPECTED_NEW_EVENTS
    assert set(new) <= {*EXPECTED_NEW_EVENTS, *OPTIONAL_NEW_EVENTS, *SECRET_ACCESS_EVENTS}
    assert len(upgraded.post_office.messages_to(left["recipient"])) == 1
    for path in (f"projects/{left['project']}", *(f"builds/{build}" for build in left["builds"])):
        assert (await upgraded.http.get(f"/api/developer/{path}", headers=admin)).status_code == 404
    project = (await upgraded.http.get(f"/api/admin/projects/{left['kept']}", headers=admin)).json()
    assert left["user"] not in project["developers_id"]


@with_streams
async def test_an_upgrade_keeps_durable_consumers(upgraded: UpgradedSystem) -> None:
    """A consumer that is deleted and created again starts at the first event."""
    async with upgraded.stage.connected() as bus:
        created = await list_durables(bus)
    assert {name: created.get(name) for name in upgraded.durables} == upgraded.durables


@with_streams
async def test_after_an_upgrade_external_consumers_continue_at_their_position(upgraded: UpgradedSystem) -> None:
    client = await nats.connect(upgraded.servers.nats_url_for("consumer"))
    async with upgraded.stage.connected() as bus:
        for stream, last in upgraded.left.read.items():
            originals = [(message.headers or {})["ce-id"] for message in await read_stream_messages(bus, stream)]
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
async def test_after_an_upgrade_login_throttling_continues(upgraded: UpgradedSystem) -> None:
    guess = {"auth": {"username": upgraded.left.locked_out, "password": PASSWORD}}
    assert (await upgraded.http.post("/api/auth/token", json=guess)).status_code == 429


@with_streams
async def test_after_an_upgrade_a_held_concurrency_slot_is_released(upgraded: UpgradedSystem) -> None:
    """After the holding build is killed, the waiting build starts, and fails because its repository is gone."""
    admin = await upgraded.log_in("root")
    holds = (await upgraded.http.get(f"/api/developer/builds/{upgraded.left.lane['holds']}", headers=admin)).json()
    path = f"/api/developer/builds/kill/queued/{holds['executor_id']}"
    assert (await upgraded.http.delete(path, headers=admin)).status_code == 204

    async def is_over() -> bool:
        waited = (await upgraded.http.get(f"/api/developer/builds/{upgraded.left.lane['waits']}", headers=admin)).json()
        return bool(waited["completed_at"] and waited["exit_message"])

    await eventually(is_over)


async def test_after_an_upgrade_a_running_job_continues_and_finishes(upgraded: UpgradedSystem) -> None:
    job, text = upgraded.left.running, f"the other half with {SECRET}\n".encode()
    headers = {"JOB-TOKEN": job["token"], "Content-Range": f"{job['length']}-{job['length'] + len(text) - 1}"}
    response = await upgraded.http.patch(f"/api/v4/jobs/{job['id']}/trace", content=text, headers=headers)
    assert response.status_code == 202, response.text
    end = {"token": job["token"], "state": "success"}
    assert (await upgraded.http.put(f"/api/v4/jobs/{job['id']}", json=end)).status_code == 200
    admin, (running,) = await upgraded.log_in("root"), upgraded.answers["/api/developer/builds/executeds"]

    async def is_over() -> bool:
        shown = await upgraded.http.get(f"/api/developer/builds/{running['build_id']}", headers=admin)
        return bool(shown.json()["completed_at"])

    await eventually(is_over)
    log = (await upgraded.http.get(f"/api/developer/logs/{running['build_id']}/-1", headers=admin)).json()["log"]
    assert log == f"half of the log\nthe other half with {'*' * len(SECRET)}"


async def test_after_an_upgrade_old_and_new_builds_run_on_an_old_runner(
    upgraded: UpgradedSystem, tmp_path: Path
) -> None:
    """The old build fails because its repository is gone. A new build of another repository succeeds."""
    admin, project = await upgraded.log_in("root"), upgraded.left.project
    scripts = {"build": "echo turning with $MILL_KEY\n", "test": "exit 0\n", "cleanup": "exit 0\n"}
    repository = {"repository": str(create_sample_repository(tmp_path / "repository", scripts, SPEC))}
    changed = await upgraded.http.patch(
        f"/api/admin/projects/{project}/repository", headers=admin, json={"project": repository}
    )
    assert changed.status_code == 200, changed.text
    launched = await upgraded.http.post(f"/api/developer/builds/{project}", headers=admin)
    builds = [upgraded.left.queued, launched.json()["build_id"]]
    url, token = str(upgraded.http.base_url), upgraded.left.runners["miller"]
    config = Config(
        url=url, token=token, id=1, name="miller", system_id="s", builds_dir=str(tmp_path / "builds"), executor="shell"
    )

    async def is_over() -> bool:
        await run(config, stop=asyncio.Event(), once=True)
        shown = [
            (await upgraded.http.get(f"/api/developer/builds/{build_id}", headers=admin)).json() for build_id in builds
        ]
        return all(build["completed_at"] for build in shown)

    await eventually(is_over, within=150)
    codes = [
        (await upgraded.http.get(f"/api/developer/builds/{build_id}", headers=admin)).json()["exit_code"]
        for build_id in builds
    ]
    log = (await upgraded.http.get(f"/api/developer/logs/{builds[1]}/init", headers=admin)).json()["log"]
    assert (codes[0] != 0, codes[1], "turning with [MASKED]" in log) == (True, 0, True)
