"""JUnit reports of jobs: from the upload by a runner to the tests of a build, and the flaky tests of a project."""

import gzip

import pytest

from services.builds.reports import report_queries
from tests.integration.whole.artifacts.artifact_requests import (
    count_documents,
    multipart_body,
    upload_like_go_runner,
)
from tests.integration.whole.console.project_runners import register_project_runner
from tests.support.external.repositories import commit_files
from tests.support.in_process.build_system import Body, BuildSystem, FakeRunner
from tests.support.waiting import eventually

PIPELINE = """
unit:
  script: make
  retry: 1
  artifacts: {paths: [out/], reports: {junit: ["reports/*.xml", "$CI_JOB_NAME.xml"]}, expire_in: 2 days}
"""
DETAILS = "line 1: " + "€" * 300  # 3 bytes each
FAILURE = f'<failure message="hush-hush is wrong">{DETAILS}</failure>'
REPORT = f"""<testsuite name="cart">
<testcase classname="tests.cart" name="total" time="1.5"/>
<testcase classname="tests.cart" name="tax" time="0.5">{FAILURE}</testcase>
<testcase classname="tests.cart" name="stock"><skipped message="later"/></testcase>
</testsuite>"""
FIXED = REPORT.replace(FAILURE, "")


async def create_project(system: BuildSystem) -> tuple[Body, FakeRunner]:
    commit_files(system.repository, {"reports/.gitlab-ci.yml": PIPELINE})
    project = await system.create_project(spec_file_path="/reports/.gitlab-ci.yml")
    secret = {"name": "KEY", "value": "hush-hush", "projects_id": [project["id"]]}
    await system.post("/api/admin/secrets", {"secret": secret}, 201)
    return project, await register_project_runner(system, project)


async def upload_report(system: BuildSystem, job: Body, report: str) -> None:
    body = multipart_body(gzip.compress(report.encode()), "junit.xml.gz")
    response = await upload_like_go_runner(system, job, body, artifact_type="junit", artifact_format="gzip")
    assert response.status_code == 201, response.text


async def get_tests(system: BuildSystem, build_id: int, query: str = "") -> Body:
    return dict(await system.get(f"/api/developer/builds/{build_id}/tests{query}"))


async def run_job(system: BuildSystem, runner: FakeRunner, report: str, state: str) -> Body:
    """Run the next job, which uploads a report. Finish it after the service has read the report."""
    job = await runner.wait_for_job()
    await upload_report(system, job, report)
    await eventually(lambda: count_documents(system, "test_reports", {"job_id": job["id"]}))
    await runner.report(job, state, exit_code=1 if state == "failed" else 0)
    return job


async def test_the_payload_of_a_job_names_its_reports_as_at_gitlab(system: BuildSystem) -> None:
    project, runner = await create_project(system)
    build_id = await system.launch_build(project)
    job = await run_job(system, runner, REPORT, "success")
    archive, junit = job["artifacts"]
    assert archive["artifact_type"] == "archive"
    assert junit == {
        "name": "junit.xml",
        "expire_in": "2 days",
        "untracked": False,
        "paths": ["reports/*.xml", "unit.xml"],
        "exclude": [],
        "when": "always",
        "artifact_type": "junit",
        "artifact_format": "gzip",
    }
    await system.wait_until_ended(build_id)


async def test_the_tests_of_a_build_are_listed_and_counted(system: BuildSystem) -> None:
    project, runner = await create_project(system)
    build_id = await system.launch_build(project)
    job = await run_job(system, runner, REPORT, "success")
    page = await get_tests(system, build_id)
    assert [(test["status"], test["name"], test["job_name"]) for test in page["tests"]] == [
        ("failed", "tax", "unit"),
        ("skipped", "stock", "unit"),
        ("passed", "total", "unit"),
    ]
    failed = page["tests"][0]
    assert (failed["message"], failed["details"], failed["duration_ms"]) == ("********* is wrong", DETAILS, 500)
    (tests_of_job,) = page["summary"]["jobs"]
    assert (tests_of_job["job_id"], tests_of_job["warnings"]) == (job["id"], [])
    assert [(suite["name"], suite["total"]) for suite in tests_of_job["suites"]] == [("cart", 3)]
    overview = await system.get(f"/api/developer/builds/{build_id}/overview")
    assert {name: overview["tests"][name] for name in ("total", "passed", "failed", "skipped", "duration_ms")} == {
        "total": 3,
        "passed": 1,
        "failed": 1,
        "skipped": 1,
        "duration_ms": 2000,
    }
    first = await get_tests(system, build_id, "?status=passed&status=failed&limit=1")
    rest = await get_tests(system, build_id, f"?status=passed&status=failed&limit=5&after={first['next']}")
    assert [test["name"] for test in (*first["tests"], *rest["tests"])] == ["tax", "total"]
    assert rest["next"] is None
    # nothing that could reveal a secret is left
    masks = {"job_id": job["id"], "masks": {"$exists": True}}
    await eventually(lambda: count_documents(system, "artifacts", masks), lambda count: count == 0)


async def test_the_size_of_a_page_of_tests_is_limited_in_bytes(
    system: BuildSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, runner = await create_project(system)
    build_id = await system.launch_build(project)
    await run_job(system, runner, REPORT, "success")
    monkeypatch.setattr(report_queries, "MAX_PAGE_BYTES", 1000)
    page = await get_tests(system, build_id)
    assert [test["name"] for test in page["tests"]] == ["tax"]
    rest = await get_tests(system, build_id, f"?after={page['next']}")
    assert [test["name"] for test in rest["tests"]] == ["stock", "total"]


async def test_an_unreadable_report_is_a_warning_of_its_job(system: BuildSystem) -> None:
    project, runner = await create_project(system)
    build_id = await system.launch_build(project)
    await run_job(system, runner, '<!DOCTYPE x [<!ENTITY y "z">]><testsuite/>', "success")
    assert (await system.wait_until_ended(build_id))["exit_code"] == 0
    (tests_of_job,) = (await get_tests(system, build_id))["summary"]["jobs"]
    assert tests_of_job["warnings"] == ["File 1 of the report was not read completely: it has a document type."]


async def test_a_retried_job_counts_once_and_shows_a_flaky_test(system: BuildSystem) -> None:
    project, runner = await create_project(system)
    build_id = await system.launch_build(project)
    await run_job(system, runner, REPORT, "failed")
    retried = await runner.wait_for_job()
    assert (await get_tests(system, build_id))["tests"] == []  # the second attempt has no report yet
    await upload_report(system, retried, FIXED)
    await runner.report(retried, "success")
    summary = await eventually(lambda: get_tests(system, build_id), until=lambda page: page["summary"]["total"] == 3)
    assert summary["summary"]["failed"] == 0
    statistics = await system.get(f"/api/developer/projects/{project['id']}/tests")
    assert statistics["builds"] == 1
    (flaky,) = statistics["flaky"]
    assert flaky == {
        "job_name": "unit",
        "class_name": "tests.cart",
        "name": "tax",
        "file": "",
        "runs": 2,
        "failed": 1,
        "same_commit": True,
        "changes": 1,
        "last_failed_build_id": build_id,
    }
    assert [(case["name"], case["mean_ms"], case["runs"]) for case in statistics["slowest"]] == [
        ("total", 1500, 2),
        ("tax", 500, 2),
    ]


async def test_a_second_report_of_an_attempt_replaces_the_first(system: BuildSystem) -> None:
    project, runner = await create_project(system)
    build_id = await system.launch_build(project)
    job = await runner.wait_for_job()
    for report, failed in ((REPORT, 1), (FIXED, 0)):
        await upload_report(system, job, report)

        async def counts(failed: int = failed) -> bool:
            summary = (await get_tests(system, build_id))["summary"]
            return (summary["total"], summary["failed"]) == (3, failed)

        await eventually(counts)
    assert await count_documents(system, "test_reports", {"job_id": job["id"]}) == 1
    await runner.report(job, "success")


async def test_reports_are_deleted_with_their_build(system: BuildSystem) -> None:
    project, runner = await create_project(system)
    build_id = await system.launch_build(project)
    job = await run_job(system, runner, REPORT, "success")
    await system.wait_until_ended(build_id)
    response = await system.http.delete(f"/api/developer/projects/{project['id']}", headers=system.admin)
    assert response.status_code == 204

    async def are_gone() -> bool:
        return await count_documents(system, "test_reports", {"job_id": job["id"]}) == 0

    await eventually(are_gone)
