"""GitFlic's routes for files of jobs: lists with download URLs, artifacts and logs."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.in_process.build_system import Body, BuildSystem, FakeRunner, build_system
from tests.support.infrastructure.servers import Servers

CONTENT = b"PK" + bytes(700_000)  # stored as two chunks
LOG = "".join(f"line {number} of the log\n" for number in range(40_000))  # more than one page of log lines


@pytest.fixture(scope="module")
async def system(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BuildSystem]:
    async with build_system(servers, tmp_path_factory.mktemp("whole"), long_poll_seconds=0.5) as whole:
        yield whole


@pytest.fixture(scope="module")
async def runner(system: BuildSystem) -> FakeRunner:
    return await system.register_runner()


@pytest.fixture(scope="module")
async def project(system: BuildSystem) -> Body:
    return await system.create_project()


@pytest.fixture(scope="module")
async def job(system: BuildSystem, project: Body, runner: FakeRunner) -> Body:
    await system.launch_build(project)
    job = await runner.wait_for_job()
    for kind in ("archive", "junit"):
        await upload_artifact(system, job, kind)
    trace_headers = {"JOB-TOKEN": job["token"], "Content-Range": f"0-{len(LOG) - 1}"}
    response = await system.http.patch(f"/api/v4/jobs/{job['id']}/trace", headers=trace_headers, content=LOG)
    assert response.status_code == 202, response.text
    await runner.report(job, "success")
    await system.wait_until_ended(job["job_info"]["pipeline_id"])
    return job


async def upload_artifact(system: BuildSystem, job: Body, kind: str) -> None:
    response = await system.http.post(
        f"/api/v4/jobs/{job['id']}/artifacts",
        headers={"JOB-TOKEN": job["token"]},
        data={"artifact_type": kind},
        files={"file": (f"{kind}.zip", CONTENT, "application/octet-stream")},
    )
    assert response.status_code == 201, response.text


@pytest.fixture(scope="module")
async def base(project: Body) -> str:
    return f"/rest-api/project/{project['owner_alias']}/{project['alias']}/cicd"


async def list_files(system: BuildSystem, path: str, **params: int) -> Body:
    response = await system.http.get(path, params=params, headers=system.admin)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def download_file(system: BuildSystem, file: Body) -> httpx.Response:
    url = urlsplit(file["downloadUrl"])
    assert url.netloc == "ci.example"
    return await system.http.get(url.path, headers=system.admin)


async def test_the_files_and_the_log_of_a_job_are_listed_with_download_urls(
    system: BuildSystem, job: Body, base: str
) -> None:
    found = await list_files(system, f"{base}/job/1/artifacts")
    files = found["_embedded"]["restPipelineJobArtifactModelList"]
    assert [(file["fileName"], file["fileType"]) for file in files] == [
        ("archive.zip", "archive"),
        ("junit.zip", "junit"),
        ("job.log", "trace"),
    ]
    assert found["page"] == {"size": 10, "totalElements": 3, "totalPages": 1, "number": 0}
    archive, _, log = [await download_file(system, file) for file in files]
    assert (archive.status_code, archive.content) == (200, CONTENT)
    assert (log.status_code, log.text) == (200, LOG)
    assert log.headers["content-disposition"] == "attachment; filename*=UTF-8''job.log"


@pytest.mark.usefixtures("job")
async def test_a_pipeline_lists_the_files_of_its_jobs_page_by_page(system: BuildSystem, base: str) -> None:
    found = await list_files(system, f"{base}/pipeline/1/artifacts", page=1, size=2)
    (log,) = found["_embedded"]["restPipelineJobArtifactModelList"]
    assert (log["fileType"], found["page"]["totalElements"], found["page"]["number"]) == ("trace", 3, 1)


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/job/9/artifacts", "JOB_NOT_FOUND"),
        ("/pipeline/9/artifacts", "BUILD_NOT_FOUND"),
        ("/job/1/artifact/c0f4ce7a-1111-4111-8111-f75d22415acc/download", "ARTIFACT_NOT_FOUND"),
    ],
)
async def test_an_unknown_job_pipeline_or_artifact_has_its_code(
    system: BuildSystem, base: str, path: str, code: str
) -> None:
    response = await system.http.get(base + path, headers=system.admin)
    assert (response.status_code, response.json()["message"]) == (404, code)


@pytest.mark.usefixtures("job")
async def test_job_numbers_are_local_to_their_project(system: BuildSystem) -> None:
    other = await system.create_project()
    response = await system.http.get(
        f"/api/project/{other['owner_alias']}/{other['alias']}/cicd/job/1/artifacts", headers=system.admin
    )
    assert response.json()["message"] == "JOB_NOT_FOUND"


async def test_the_log_of_each_attempt_can_be_read_and_the_last_is_the_default(
    system: BuildSystem, runner: FakeRunner
) -> None:
    await system.launch_build(await system.create_project())
    attempts = []
    for log_text in ("first\n", "second\n"):
        job = await runner.wait_for_job()
        trace_headers = {"JOB-TOKEN": job["token"], "Content-Range": f"0-{len(log_text) - 1}"}
        await system.http.patch(f"/api/v4/jobs/{job['id']}/trace", headers=trace_headers, content=log_text)
        attempts.append(job)
        given_back = {"token": job["token"], "state": "failed", "failure_reason": "runner_interrupted"}
        await system.http.put(f"/api/v4/jobs/{job['id']}", json=given_back)
    address = f"/api/developer/jobs/{attempts[0]['id']}/log"

    async def text(**asked: str) -> str:
        response = await system.http.get(address, params=asked, headers=system.admin)
        assert response.status_code == 200, response.text
        return response.text

    assert (await text(attempt="1"), await text(attempt="2"), await text()) == ("first\n", "second\n", "second\n")
    missing = await system.http.get(address, params={"attempt": "9"}, headers=system.admin)
    wrong = await system.http.get(address, params={"attempt": "last"}, headers=system.admin)
    assert (missing.status_code, missing.json()["message"]) == (404, "JOB_NOT_FOUND")
    assert (wrong.status_code, wrong.json()["message"]) == (422, "REQUEST_INVALID")
