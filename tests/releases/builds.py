"""Builds of every kind: successful, failed, retried, launched by a push, canceled, deleted and unfinished."""

import asyncio
import io
import zipfile
from dataclasses import replace
from pathlib import Path

from agent.config import Config
from agent.runner import run
from tests.releases.changes import delete_resource, patch_resource
from tests.support.external.forge_webhooks import github_headers, github_push_body
from tests.support.external.repositories import commit_files
from tests.support.in_process.build_system import Body, BuildSystem, FakeRunner
from tests.support.waiting import eventually

PIPELINE = """
make:
  stage: build
  script: [mkdir -p dist, echo made > dist/wheel]
  artifacts: {paths: [dist/]}
lint:
  stage: build
  script: [exit 3]
  allow_failure: true
grind:
  stage: test
  script: [cat dist/wheel, exit 4]
  retry: 1
ship:
  stage: deploy
  when: manual
  script: [echo shipped]
"""


BOUNDARY = "a3f1c0ffee"


async def run_builds(system: BuildSystem, project: Body, worker: FakeRunner, folder: Path) -> None:
    url = str(system.http.base_url).rstrip("/")
    config = Config(
        url=url,
        token=worker.token,
        id=1,
        name="miller",
        system_id="s",
        builds_dir=str(folder / "builds"),
        executor="shell",
    )

    async def work(times: int) -> None:
        for _ in range(times):
            await run(config, stop=asyncio.Event(), once=True)

    async def spec(path: str) -> None:
        await patch_resource(
            system, f"/api/admin/projects/{project['id']}/spec_file_path", project={"spec_file_path": path}
        )

    good = await system.launch_build(project)
    await work(1)
    assert (await system.wait_until_ended(good))["exit_code"] == 0
    for path, attempts in (("/bad/headrace.yaml", 1), ("/broken/headrace.yaml", 0), ("/nowhere.yaml", 0)):
        await spec(path)
        failed = await system.launch_build(project)
        await work(attempts)
        assert (await system.wait_until_ended(failed))["exit_code"] != 0
    await spec("/pipeline/.gitlab-ci.yml")
    pipeline = await system.launch_build(project)
    await work(4)  # the jobs make, lint and grind, and the retry of grind
    assert (await system.wait_until_ended(pipeline))["exit_code"] == 4
    await resume_build(system, pipeline, worker)
    await spec("/headrace.yaml")
    await send_pushes(system, project, worker)
    killed = (await system.get_build(await system.launch_build(project)))["executor_id"]
    await delete_resource(system, f"/api/developer/builds/kill/queued/{killed}")
    await return_job(system, project, worker)
    forgotten = await system.launch_build(project)
    await work(1)
    await system.wait_until_ended(forgotten)
    await delete_resource(system, f"/api/admin/builds/{forgotten}")
    await build_with_artifact(system, project, worker, expire_in="never")
    expired = await build_with_artifact(system, project, worker, expire_in="1 sec")

    async def is_removed() -> bool:
        return not await system.get(f"/api/developer/jobs/{expired}/artifacts")

    await eventually(is_removed)
    await cancel_build(system, project, worker)


async def resume_build(system: BuildSystem, build: int, worker: FakeRunner) -> None:
    (failed,) = [job for job in await system.get(f"/api/developer/builds/{build}/jobs") if job["name"] == "grind"]
    await system.post(f"/api/developer/jobs/{failed['id']}/retry", status=204)
    await worker.report(await worker.wait_for_job(), "success")

    async def has_succeeded() -> bool:
        return bool((await system.get_build(build))["exit_code"] == 0)

    await eventually(has_succeeded)


async def cancel_build(system: BuildSystem, project: Body, worker: FakeRunner) -> None:
    """Cancel a build whose runner runs its cleanup steps before the build ends."""
    build = await system.launch_build(project)
    job = await replace(worker, features={"cancel_gracefully": True}).wait_for_job()
    await worker.report(job, "running")
    killed = (await system.get_build(build))["executor_id"]
    await delete_resource(system, f"/api/developer/builds/kill/executed/{killed}")
    await worker.report(job, "success")
    await system.wait_until_ended(build)


async def send_pushes(system: BuildSystem, project: Body, worker: FakeRunner) -> None:
    """Send a push that starts a build, a push to another branch, and a push with a wrong signature."""
    project_view = await system.get(f"/api/admin/projects/{project['id']}")
    head = commit_files(system.repository, {"pushed": "yes"})
    path = f"/api/guest/webhooks/build/{project['id']}"
    for key, ref, status in (
        (project_view["signature_key"], "refs/heads/main", 201),
        (project_view["signature_key"], "refs/heads/topic", 200),
        ("wrong", "refs/heads/main", 401),
    ):
        body = github_push_body(head, ref)
        response = await system.http.post(path, content=body, headers=github_headers(key, body))
        assert response.status_code == status, response.text
    job = await worker.wait_for_job()
    await worker.report(job, "success")


async def return_job(system: BuildSystem, project: Body, worker: FakeRunner) -> None:
    """Report that a job could not be prepared, which requeues the job. Its next attempt succeeds."""
    build = await system.launch_build(project)
    job = await worker.wait_for_job()
    lost = {"token": job["token"], "state": "failed", "failure_reason": "runner_system_failure"}
    await system.http.put(f"/api/v4/jobs/{job['id']}", json=lost)
    second_attempt = await worker.wait_for_job()
    assert second_attempt["id"] == job["id"]
    await worker.report(second_attempt, "success")
    await system.wait_until_ended(build)


async def build_with_artifact(system: BuildSystem, project: Body, worker: FakeRunner, expire_in: str) -> int:
    build = await system.launch_build(project)
    job = await worker.wait_for_job()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("flour.txt", "fine\n")
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="flour.zip"\r\n\r\n'
    response = await system.http.post(
        f"/api/v4/jobs/{job['id']}/artifacts?artifact_format=zip&artifact_type=archive&expire_in={expire_in}",
        content=head.encode() + packed.getvalue() + f"\r\n--{BOUNDARY}--\r\n".encode(),
        headers={"JOB-TOKEN": job["token"], "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
    )
    assert response.status_code == 201, response.text
    await worker.report(job, "success")
    await system.wait_until_ended(build)
    return int(job["id"])


async def start_unfinished_job(system: BuildSystem, worker: FakeRunner) -> Body:
    job = await worker.wait_for_job()
    assert await worker.report(job, "running")
    text = b"half of the log\n"
    response = await system.http.patch(
        f"/api/v4/jobs/{job['id']}/trace",
        content=text,
        headers={"JOB-TOKEN": job["token"], "Content-Range": f"0-{len(text) - 1}", "Content-Type": "text/plain"},
    )
    assert response.status_code == 202, response.text

    async def is_running() -> bool:
        return bool(await system.get("/api/developer/builds/executeds"))

    await eventually(is_running)
    return {"id": job["id"], "token": job["token"], "length": len(text)}
