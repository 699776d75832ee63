"""Fixtures: a system that stores artifacts in the database or in a bucket, with a runner and a job."""

from collections.abc import AsyncIterator, Iterator

import pytest

from libs.settings import S3Settings
from tests.support.external.s3_server import s3_server
from tests.support.in_process.build_system import Body, BuildSystem, FakeRunner, build_system
from tests.support.infrastructure.servers import Servers


@pytest.fixture(scope="package", params=["database", "bucket"])
def bucket(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Settings]:
    """Return the settings of the artifact storage: of an S3 bucket, or empty for the database."""
    if request.param == "database":
        yield S3Settings()
        return
    with s3_server(tmp_path_factory.mktemp("s3")) as (_server, settings):
        yield settings


@pytest.fixture(scope="package")
async def system(
    servers: Servers, tmp_path_factory: pytest.TempPathFactory, bucket: S3Settings
) -> AsyncIterator[BuildSystem]:
    folder = tmp_path_factory.mktemp("whole")
    limits = {"long_poll_seconds": 0.5, "max_interval": 0.5, "artifact_megabytes": 2}
    async with build_system(servers, folder, **limits, s3=bucket) as whole:
        yield whole


@pytest.fixture(scope="package")
async def project(system: BuildSystem) -> Body:
    return await system.create_project()


@pytest.fixture(scope="package")
async def runner(system: BuildSystem) -> FakeRunner:
    return await system.register_runner()


@pytest.fixture
async def job(system: BuildSystem, project: Body, runner: FakeRunner) -> AsyncIterator[Body]:
    """Yield the payload of an assigned job. Then finish the job, so that the queue is empty for the next test."""
    await system.launch_build(project)
    job = await runner.wait_for_job()
    yield job
    await runner.report(job, "success")
