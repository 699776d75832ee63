"""Artifacts of jobs on all the services: both clients' ways of sending, limits, tokens, crashes and expiry."""

import asyncio
import io
import itertools
import json
import zipfile
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from pymongo.asynchronous.database import AsyncDatabase

from agent.config import Config
from agent.runner import run
from contracts.builds import (
    AppendArtifact,
    ArtifactUpload,
    BeginArtifact,
    DeleteBuild,
    FinishArtifact,
    GetJob,
    LaunchedProject,
    LoseJob,
    PlannedArtifacts,
    PlannedJob,
    QueueJob,
)
from contracts.messages import Command
from libs.connections import Document, database_of, mongo
from libs.messaging import Caller, connect
from libs.settings import BucketSettings
from tests.integration.whole_stage import Body, RunnerAtWork, Whole, whole_stage
from tests.support import eventually
from tests.support.buckets import objects, s3_server
from tests.support.repositories import commit

PIECE = 512 * 1024
LARGE = b"".join(number.to_bytes(4, "big") for number in range(PIECE // 2 + 3000))  # no two pieces alike
SMALL = b"PK\x05\x06" + bytes(18)
BOUNDARY = "a3f1c0ffee"
PIPELINE = """
make:
  stage: build
  script: [mkdir -p dist/deep, "echo made > dist/deep/$CI_JOB_NAME", echo hidden > dist/skipped.o]
  artifacts:
    name: "$CI_JOB_NAME of $CI_COMMIT_REF_NAME"
    paths: [dist/]
    exclude: ["**/*.o"]
    expire_in: 2 days
try:
  stage: test
  script: [grep made dist/deep/make, test ! -e dist/skipped.o]
"""
NUMBERS = itertools.count(900_000)


@pytest.fixture(scope="module", params=["database", "bucket"])
def bucket(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketSettings | None]:
    """Where the bytes lie; all tests hold for both."""
    if request.param == "database":
        yield None
        return
    with s3_server(tmp_path_factory.mktemp("s3")) as (_server, settings):
        yield settings


@pytest.fixture(scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory, bucket: BucketSettings | None) -> AsyncIterator[Whole]:
    folder = tmp_path_factory.mktemp("whole")
    async with whole_stage(folder, long_poll_seconds=0.5, artifact_megabytes=2, bucket=bucket) as whole:
        yield whole


@pytest.fixture(scope="module")
async def project(here: Whole) -> Body:
    return await here.project()


@pytest.fixture(scope="module")
async def runner(here: Whole) -> RunnerAtWork:
    return await here.runner()


@pytest.fixture
async def job(here: Whole, project: Body, runner: RunnerAtWork) -> AsyncIterator[Body]:
    """Running, with its build; ended afterwards, so that nothing is left in the queue."""
    await here.launched(project)
    job = await runner.job()
    yield job
    await runner.report(job, "success")


@asynccontextmanager
async def database(here: Whole) -> AsyncIterator[AsyncDatabase[Document]]:
    async with mongo(here.settings, "test") as client:
        yield database_of(client, here.settings, "builds")


async def count(here: Whole, collection: str, condition: Document) -> int:
    async with database(here) as found:
        return int(await found[collection].count_documents(condition))


async def told(here: Whole, command: Command) -> bytes:
    bus = await connect(here.settings, "test")
    try:
        return await Caller(bus).tell(command)
    finally:
        await bus.close()


def address(job: Body) -> str:
    return f"/api/v4/jobs/{job['id']}/artifacts"


def token(job: Body) -> dict[str, str]:
    return {"JOB-TOKEN": job["token"]}


def form(content: bytes, name: str = "out.zip", *, ends: bool = True) -> bytes:
    disposition = f'Content-Disposition: form-data; name="file"; filename="{name}"'
    head = f"--{BOUNDARY}\r\n{disposition}\r\nContent-Type: application/octet-stream\r\n\r\n"
    return head.encode() + content + (f"\r\n--{BOUNDARY}--\r\n".encode() if ends else b"")


async def pieces(body: bytes, size: int = 7001) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def sent_by_go(here: Whole, job: Body, body: bytes, headers: dict[str, str] | None = None, **query: str) -> Any:
    """Of unknown length, the parameters in the query."""
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    sent = {**(token(job) if headers is None else headers), **kind}
    return await here.http.post(address(job), params=query, headers=sent, content=pieces(body))


async def sent_by_python(here: Whole, job: Body, content: bytes) -> httpx.Response:
    """Of known length, the parameters in the form."""
    return await here.http.post(
        address(job),
        headers={"Job-Token": job["token"]},
        data={"artifact_format": "zip", "artifact_type": "archive"},
        files={"file": ("archive.zip", content, "application/octet-stream")},
    )


async def kept(here: Whole, job: Body) -> list[Body]:
    return list(await here.get(f"/api/developer/jobs/{job['id']}/artifacts"))


async def fetched(here: Whole, job: Body, bearer: Body) -> httpx.Response:
    return await here.http.get(address(job), headers=token(bearer), params={"direct_download": "true"})


async def another_job(here: Whole, job: Body, **wants: Any) -> int:
    """Of the same build."""
    number = next(NUMBERS)
    project = LaunchedProject(
        project_id=job["job_info"]["project_id"],
        name="mill",
        owner_alias="root",
        alias="mill",
        repository=str(here.repository),
        branch="main",
        spec_file_path="/headrace.yaml",
    )
    planned = PlannedJob(job_id=number, job_uuid=f"uuid-{number}", **wants)
    build_id, sha = job["job_info"]["pipeline_id"], job["git_info"]["sha"]
    await told(here, QueueJob(job_id=number, build_id=build_id, project=project, job=planned, ref="main", sha=sha))
    return number


# ---- up and down


@pytest.mark.parametrize("content", [b"", SMALL, LARGE, LARGE[: 2 * PIECE]], ids=["empty", "small", "large", "even"])
async def test_what_a_runner_in_go_sends_comes_back_byte_by_byte(here: Whole, job: Body, content: bytes) -> None:
    answer = await sent_by_go(here, job, form(content), artifact_format="zip", artifact_type="archive")
    assert answer.status_code == 201, answer.text
    back = await fetched(here, job, job)
    assert (back.status_code, back.content) == (200, content)
    assert back.headers["content-type"] == "application/octet-stream"


async def test_what_the_runner_in_python_sends_comes_back_byte_by_byte(here: Whole, job: Body) -> None:
    answer = await sent_by_python(here, job, LARGE)
    assert answer.status_code == 201, answer.text
    back = await fetched(here, job, job)
    assert (back.status_code, back.content) == (200, LARGE)


async def test_parameters_behind_the_file_count_as_well(here: Whole, job: Body) -> None:
    field = 'Content-Disposition: form-data; name="artifact_type"'
    tail = f"\r\n--{BOUNDARY}\r\n{field}\r\n\r\njunit\r\n--{BOUNDARY}--\r\n"
    answer = await sent_by_go(here, job, form(b"<xml/>", "report.xml.gz", ends=False) + tail.encode())
    assert answer.status_code == 201
    (one,) = await kept(here, job)
    assert (one["artifact_type"], one["file_name"]) == ("junit", "report.xml.gz")


async def test_a_second_file_of_the_same_type_takes_the_place_of_the_first(here: Whole, job: Body) -> None:
    await sent_by_python(here, job, b"first")
    ((former),) = await kept(here, job)
    await sent_by_python(here, job, b"second")
    assert (await fetched(here, job, job)).content == b"second"
    (present,) = await kept(here, job)
    assert present["id"] != former["id"]
    await eventually(lambda: no_bytes(here, former["id"]))


async def none_left(here: Whole, collection: str, condition: Document) -> bool:
    return await count(here, collection, condition) == 0


async def no_bytes(here: Whole, *artifact_ids: str) -> bool:
    """Neither in the database nor in the bucket."""
    async with database(here) as found:
        pieces = await found["file_pieces"].distinct("file")
    left = (*pieces, *await asyncio.to_thread(objects, here.settings.bucket))
    return not any(id_ in one for id_ in artifact_ids for one in left)


async def test_a_finished_job_gives_its_archive_and_takes_no_more(here: Whole, job: Body, runner: RunnerAtWork) -> None:
    await sent_by_python(here, job, SMALL)
    await runner.report(job, "success")
    assert (await fetched(here, job, job)).content == SMALL
    assert (await sent_by_python(here, job, SMALL)).status_code == 403


async def test_a_later_job_of_the_build_is_told_of_the_archive_and_gets_it(
    here: Whole, job: Body, runner: RunnerAtWork
) -> None:
    await sent_by_go(here, job, form(LARGE, "bundle.zip"))
    wanted = PlannedArtifacts(paths=("dist/",), expire_in="2 days")
    number = await another_job(
        here, job, name="deploy", commands=("true",), fetches=(job["job_info"]["name"],), artifacts=wanted
    )
    later = await runner.job()
    assert later["id"] == number
    (dependency,) = later["dependencies"]
    assert dependency["artifacts_file"] == {"filename": "bundle.zip", "size": len(LARGE)}
    got = await here.http.get(f"/api/v4/jobs/{dependency['id']}/artifacts", headers={"JOB-TOKEN": dependency["token"]})
    assert (got.status_code, got.content) == (200, LARGE)
    assert (await sent_by_python(here, later, SMALL)).status_code == 201  # it says nothing of an end
    (mine,) = await kept(here, later)
    assert timedelta(days=1) < datetime.fromisoformat(mine["expire_at"]) - datetime.now(UTC) < timedelta(days=3)
    assert later["artifacts"] == [
        {
            "expire_in": "2 days",
            "untracked": False,
            "paths": ["dist/"],
            "exclude": [],
            "when": "on_success",
            "artifact_type": "archive",
            "artifact_format": "zip",
        }
    ]
    await runner.report(later, "success")
    assert (await fetched(here, job, later)).status_code == 403  # its time is over


async def test_our_own_agent_leaves_files_and_gets_those_of_earlier_jobs(
    here: Whole, job: Body, runner: RunnerAtWork, tmp_path: Path
) -> None:
    script = ("cp -r ci out", "ls")
    wanted = PlannedArtifacts(name="scripts-$CI_JOB_ID", paths=("out/",))
    first = await another_job(here, job, name="make", commands=script, artifacts=wanted)
    url = str(here.http.base_url).rstrip("/")
    config = Config(url=url, token=runner.token, id=1, name="ours", system_id="s", builds_dir=str(tmp_path / "builds"))
    await run(config, stop=asyncio.Event(), once=True)
    (archive,) = await kept(here, {"id": first})
    assert archive["file_name"] == f"scripts-{first}.zip"
    path = f"/api/developer/jobs/{first}/artifacts/{archive['id']}"
    content = (await here.http.get(path, headers=here.admin)).content
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        assert opened.read("out/build.sh") == (here.repository / "ci/build.sh").read_bytes()
    second = await another_job(here, job, name="again", commands=("cat out/build.sh",), fetches=("make",))
    await run(config, stop=asyncio.Event(), once=True)
    log = await log_of(here, second)
    assert "Downloading artifacts of make" in log
    assert (here.repository / "ci/build.sh").read_text() in log


async def test_a_pipeline_hands_files_from_stage_to_stage(here: Whole, runner: RunnerAtWork, tmp_path: Path) -> None:
    commit(here.repository, {"pipeline/.gitlab-ci.yml": PIPELINE})
    build_id = await here.launched(await here.project(spec_file_path="/pipeline/.gitlab-ci.yml"))
    url = str(here.http.base_url).rstrip("/")
    config = Config(url=url, token=runner.token, id=1, name="ours", system_id="s", builds_dir=str(tmp_path / "builds"))
    for _ in range(2):
        await run(config, stop=asyncio.Event(), once=True)
    ended = await here.ended(build_id)
    assert ended["exit_code"] == 0, ended


async def log_of(here: Whole, job_id: int) -> str:
    async with database(here) as found:
        attempts = [one["_id"] async for one in found["attempts"].find({"job_id": job_id})]
        chunks = found["log_chunks"].find({"attempt": {"$in": attempts}}, sort=[("offset", 1), ("place", 1)])
        return b"".join([one["text"] async for one in chunks]).decode()


async def test_a_job_without_an_archive_has_none(here: Whole, job: Body) -> None:
    assert (await fetched(here, job, job)).status_code == 404


# ---- what is refused


async def test_only_the_jobs_own_token_uploads(here: Whole, job: Body) -> None:
    for headers in ({}, {"JOB-TOKEN": "hrj-other"}):
        answer = await sent_by_go(here, job, form(SMALL), headers)
        assert answer.status_code == 403
    unknown = {**job, "id": 987654321}
    assert (await sent_by_go(here, unknown, form(SMALL))).status_code == 403


async def test_the_token_of_a_job_of_another_build_reads_nothing(
    here: Whole, job: Body, project: Body, runner: RunnerAtWork
) -> None:
    await sent_by_python(here, job, SMALL)
    await here.launched(project)
    other = await runner.job()
    assert (await fetched(here, job, other)).status_code == 403
    assert (await here.http.get(address(job))).status_code == 403
    await runner.report(other, "success")


@pytest.mark.parametrize("send", [sent_by_python, lambda here, job, content: sent_by_go(here, job, form(content))])
async def test_what_is_too_large_is_refused_and_leaves_nothing(here: Whole, job: Body, send: Any) -> None:
    answer = await send(here, job, bytes(2 * 1024 * 1024 + 1))
    assert answer.status_code == 413
    await nothing_left(here, job)


@pytest.mark.parametrize(
    "body",
    [form(LARGE, ends=False), form(SMALL)[:-10], b"no form at all", form(b"x").replace(b'"file"', b'"else"'), b""],
    ids=["no end", "half an end", "no form", "no file", "nothing"],
)
async def test_a_broken_form_is_refused_and_leaves_nothing(here: Whole, job: Body, body: bytes) -> None:
    answer = await sent_by_go(here, job, body)
    assert answer.status_code == 400
    await nothing_left(here, job)


async def test_a_connection_that_breaks_off_leaves_nothing(here: Whole, job: Body) -> None:
    where = urlsplit(str(here.http.base_url))
    _, writer = await asyncio.open_connection(where.hostname, where.port)
    body = form(LARGE)
    head = (
        f"POST {address(job)} HTTP/1.1\r\nHost: x\r\nJOB-TOKEN: {job['token']}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body[: 2 * PIECE])
    await eventually(lambda: some(here, {"job_id": job["id"], "length": PIECE}))
    writer.transport.abort()
    await nothing_left(here, job)


async def some(here: Whole, condition: Document) -> bool:
    return await count(here, "artifacts", condition) > 0


async def nothing_left(here: Whole, job: Body) -> None:
    assert await kept(here, job) == []
    await eventually(lambda: none_left(here, "artifacts", {"job_id": job["id"], "gone": False}))
    async with database(here) as found:
        ids = [one["_id"] async for one in found["artifacts"].find({"job_id": job["id"]})]
    assert ids
    await eventually(lambda: no_bytes(here, *ids))


@pytest.mark.parametrize(
    "query",
    [{"expire_in": "soon"}, {"artifact_format": "tar"}, {"artifact_type": "../x"}],
    ids=lambda query: str(query),
)
async def test_parameters_that_mean_nothing_are_refused(here: Whole, job: Body, query: Body) -> None:
    answer = await sent_by_go(here, job, form(SMALL), **query)
    assert answer.status_code == 422
    await nothing_left(here, job)


async def test_a_job_cannot_fill_the_disk_with_uploads_that_it_never_ends(here: Whole, job: Body) -> None:
    for _ in range(50):
        await begin(here, job)
    assert (await sent_by_go(here, job, form(SMALL))).status_code == 413


# ---- crashes, and the end


async def test_pieces_without_an_end_are_seen_by_nobody_and_cleared_away(here: Whole, job: Body) -> None:
    begun = await begin(here, job)
    await told(here, AppendArtifact(artifact_id=begun.artifact_id, offset=0, content=b64encode(SMALL)))
    assert await kept(here, job) == []
    assert (await fetched(here, job, job)).status_code == 404
    for _ in range(2):  # cleared, and an hour later forgotten
        await wait_an_hour(here, begun.artifact_id)
    await eventually(lambda: none_left(here, "artifacts", {"_id": begun.artifact_id}), within=25)
    assert await no_bytes(here, begun.artifact_id)


async def test_a_file_that_was_recorded_survives_a_crash_before_that_was_noted(here: Whole, job: Body) -> None:
    await sent_by_python(here, job, SMALL)
    (one,) = await kept(here, job)
    async with database(here) as found:
        await found["artifacts"].update_one({"_id": one["id"]}, {"$set": {"recorded": False}})
    await wait_an_hour(here, one["id"], then={"recorded": True})
    assert (await fetched(here, job, job)).content == SMALL


async def test_pieces_and_the_end_may_be_told_again(here: Whole, job: Body) -> None:
    begun = await begin(here, job)
    piece = AppendArtifact(artifact_id=begun.artifact_id, offset=0, content=b64encode(SMALL))
    end = FinishArtifact(
        job_id=job["id"], token=job["token"], artifact_id=begun.artifact_id, size=len(SMALL), file_name="a.zip"
    )
    for command in (piece, piece, end, end):
        await told(here, command)
    (one,) = await kept(here, job)
    assert (one["id"], one["size"]) == (begun.artifact_id, len(SMALL))
    assert (await fetched(here, job, job)).content == SMALL


async def begin(here: Whole, job: Body) -> ArtifactUpload:
    return ArtifactUpload.model_validate_json(await told(here, BeginArtifact(job_id=job["id"], token=job["token"])))


async def wait_an_hour(here: Whole, artifact_id: str, then: Document | None = None) -> None:
    """For the clock of the database; until the ticker has seen it."""
    then = then or {"touched_at": {"$gt": datetime.now(UTC) - timedelta(minutes=1)}}
    async with database(here) as found:
        await found["artifacts"].update_one(
            {"_id": artifact_id}, {"$set": {"touched_at": datetime.now(UTC) - timedelta(hours=2)}}
        )
        waiting = {"_id": artifact_id, "$nor": [then]}
    await eventually(lambda: none_left(here, "artifacts", waiting), within=25)


async def test_an_artifact_expires_when_its_job_said(here: Whole, job: Body, runner: RunnerAtWork) -> None:
    await sent_by_go(here, job, form(SMALL), expire_in="1 week")
    (one,) = await kept(here, job)
    lives = datetime.fromisoformat(one["expire_at"]) - datetime.fromisoformat(one["uploaded_at"])
    assert abs(lives - timedelta(weeks=1)) < timedelta(seconds=5)
    shown = (await here.get("/api/admin/runners/all/jobs", params={"size": 1}))["_embedded"]
    assert shown["restPipelineJobModelList"][0]["artifactsExpireAt"][:19] == one["expire_at"][:19]
    await sent_by_go(here, job, form(SMALL), expire_in="1 sec")
    (one,) = await kept(here, job)
    await eventually(lambda: gone(here, job), within=25)
    assert (await fetched(here, job, job)).status_code == 404
    await eventually(lambda: no_bytes(here, one["id"]))


async def gone(here: Whole, job: Body) -> bool:
    return await kept(here, job) == []


async def test_a_job_that_is_tried_again_begins_without_artifacts(here: Whole, job: Body, runner: RunnerAtWork) -> None:
    await sent_by_python(here, job, SMALL)
    (one,) = await kept(here, job)
    await told(here, LoseJob(job_id=job["id"], attempt=1, reason="silent"))
    assert await kept(here, job) == []
    assert (await sent_by_python(here, job, SMALL)).status_code == 403
    await eventually(lambda: no_bytes(here, one["id"]))
    again = await runner.job()
    assert (await sent_by_python(here, again, SMALL)).status_code == 201
    await runner.report(again, "success")


async def test_a_deleted_build_takes_its_artifacts_with_it(here: Whole, job: Body, runner: RunnerAtWork) -> None:
    await sent_by_python(here, job, LARGE)
    (one,) = await kept(here, job)
    await runner.report(job, "success")
    await here.ended(job["job_info"]["pipeline_id"])
    await told(here, DeleteBuild(build_id=job["job_info"]["pipeline_id"]))
    await eventually(lambda: no_bytes(here, one["id"]))
    assert (await fetched(here, job, job)).status_code == 403
    answer = await here.http.get(f"/api/developer/jobs/{job['id']}/artifacts", headers=here.admin)
    assert answer.status_code == 404


# ---- for people


async def test_people_save_an_artifact_under_a_name_that_can_do_no_harm(here: Whole, job: Body) -> None:
    await sent_by_go(here, job, form(SMALL, "../../etc/pass\x07wörd.zip"))
    (one,) = await kept(here, job)
    path = f"/api/developer/jobs/{job['id']}/artifacts/{one['id']}"
    answer = await here.http.get(path, headers=here.admin)
    assert (answer.status_code, answer.content) == (200, SMALL)
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''pass_w%C3%B6rd.zip"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await here.http.get(path)).status_code == 401
    missing = await here.http.get(path + "0", headers=here.admin)
    assert (missing.status_code, missing.json()["message"]) == (404, "ARTIFACT_NOT_FOUND")


async def test_no_token_stands_in_the_history_of_the_job(here: Whole, job: Body) -> None:
    await sent_by_python(here, job, SMALL)
    bus = await connect(here.settings, "test")
    try:
        row = json.loads(await Caller(bus).ask(GetJob(job_id=job["id"])))
    finally:
        await bus.close()
    assert row["artifacts"][0]["file_name"] == "archive.zip"
    assert job["token"] not in json.dumps(row)
