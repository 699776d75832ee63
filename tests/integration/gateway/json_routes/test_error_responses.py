"""Error responses, generated API documents and probes of the gateway."""

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.builds import (
    ListProjectBuilds,
)
from contracts.errors import RequestRejected
from contracts.identity import RegisterUser
from contracts.messages import Command
from contracts.projects import (
    CreateCredential,
    CreateExecutor,
    CreateProject,
    CreateSecret,
    GetLaunchSettings,
)
from libs.version import VERSION
from tests.integration.gateway.json_routes.sample_views import ERROR_FIELDS
from tests.support.in_process.gateway_stage import GatewayStage
from tests.support.waiting import eventually_equal


async def test_unknown_paths_and_methods_have_their_codes(stage: GatewayStage) -> None:
    nowhere = await stage.http.get("/api/nowhere")
    assert (nowhere.status_code, nowhere.json()["message"]) == (404, "NOT_FOUND")
    beyond = await stage.http.get(f"/api/admin/projects/{2**63}", headers=stage.admin)
    assert (beyond.status_code, beyond.json()["message"]) == (404, "NOT_FOUND")
    wrong = await stage.http.put("/api/admin/projects/1", headers=stage.admin)
    assert (wrong.status_code, wrong.json()["message"]) == (405, "METHOD_NOT_ALLOWED")
    assert wrong.headers["Allow"] == "GET, HEAD, DELETE, OPTIONS"
    alike = await stage.http.put("/api/developer/builds/1", headers=stage.developer)
    assert alike.headers["Allow"] == "POST, GET, HEAD, OPTIONS"


async def test_a_body_that_is_not_json_is_400(stage: GatewayStage) -> None:
    headers = stage.admin | {"Content-Type": "application/json"}
    response = await stage.http.post("/api/admin/projects", content=b'{"project":', headers=headers)
    assert (response.status_code, response.json()["message"]) == (400, "REQUEST_MALFORMED")


async def test_a_caller_is_authenticated_before_the_body_is_parsed(stage: GatewayStage) -> None:
    headers = {"Content-Type": "application/json"}
    response = await stage.http.post("/api/admin/projects", content=b'{"project":', headers=headers)
    assert (response.status_code, response.json()["message"]) == (401, "UNAUTHORIZED")


async def test_a_body_above_the_size_limit_is_413(stage: GatewayStage) -> None:
    headers = stage.admin | {"Content-Type": "application/json"}
    response = await stage.http.post("/api/admin/projects", content=b" " * (2 * 1024 * 1024), headers=headers)
    assert (response.status_code, response.json()["message"]) == (413, "REQUEST_TOO_LARGE")


async def test_a_value_of_a_wrong_type_is_422_with_the_code_of_its_field(stage: GatewayStage) -> None:
    body = {"project": {"keep_number_build": "many"}}
    response = await stage.http.post("/api/admin/projects", json=body, headers=stage.admin)
    assert (response.status_code, response.json()["message"]) == (422, "PROJECT_KEEP_NUMBER_BUILD_INVALID")


def raise_defect(_command: CreateProject) -> None:
    raise RuntimeError("a defect")


async def test_a_defect_of_a_service_is_500_without_details(
    stage: GatewayStage, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.services.serve(CreateProject, raise_defect)
    response = await stage.http.post("/api/admin/projects", json={}, headers=stage.admin)
    assert (response.status_code, response.json()["message"]) == (500, "INTERNAL_SERVER_ERROR")
    assert "a defect" not in response.text
    caplog.clear()


async def test_an_unreadable_service_reply_is_500_and_logged_once(
    stage: GatewayStage, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.services.serve(ListProjectBuilds, lambda _: [{"id": "hush"}])
    await stage.services.serve(GetLaunchSettings, lambda _: {})
    response = await stage.http.get("/api/developer/builds/by/project/9", headers=stage.developer)
    assert (response.status_code, response.json()["message"]) == (500, "INTERNAL_SERVER_ERROR")
    assert "hush" not in response.text
    assert [record.name for record in caplog.records if record.levelname == "ERROR"] == ["headrace.gateway"]
    caplog.clear()


async def test_a_trace_started_by_the_client_is_continued(stage: GatewayStage) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    response = await stage.http.get("/api/nowhere", headers={"traceparent": traceparent})
    assert response.json()["trace_id"] == response.headers["X-Trace-Id"] == "0af7651916cd43dd8448eb211c80319c"


async def test_the_openapi_document_lists_only_the_documented_prefix(stage: GatewayStage) -> None:
    document = (await stage.http.get("/api/openapi.json")).json()
    assert all(path.startswith(("/api/", "/-/runner/")) for path in document["paths"])
    protected = [
        operation for path in document["paths"].values() for operation in path.values() if operation["security"]
    ]
    assert [operation["operationId"] for operation in protected if "403" not in operation["responses"]] == []
    assert "text/event-stream" in document["paths"]["/api/events"]["get"]["responses"]["200"]["content"]
    assert "/api/developer/builds/{project_id}" in document["paths"]


@pytest.mark.parametrize(("path", "document"), [("/api/docs", "openapi"), ("/api/events/docs", "asyncapi")])
async def test_a_page_of_the_api_loads_its_files_from_the_gateway(
    stage: GatewayStage, path: str, document: str
) -> None:
    page = (await stage.http.get(path)).text
    assert re.search(rf"""["']/api/{document}.json["']""", page)
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(links) >= 2
    assert [(link, (await stage.http.get(link)).status_code) for link in links] == [(link, 200) for link in links]


async def test_the_asyncapi_document_describes_events_commands_and_queries(stage: GatewayStage) -> None:
    document = (await stage.http.get("/api/asyncapi.json")).json()
    assert {"builds.BuildFinished", "cmd.builds.QueueBuild", "qry.builds.GetBuild"} <= document["channels"].keys()


async def test_health_readiness_and_metrics_endpoints_respond(stage: GatewayStage) -> None:
    assert (await stage.http.get("/healthz")).json() == {"alive": True, "version": VERSION}

    async def get_readiness() -> dict[str, object]:  # a busy NATS server makes the gateway unready for a while
        return dict((await stage.http.get("/readyz")).json())

    await eventually_equal(get_readiness, {"ready": True, "reasons": {}})
    assert "headrace_long_polls 0.0" in (await stage.http.get("/metrics")).text


async def test_metrics_are_hidden_from_forwarded_requests(stage: GatewayStage) -> None:
    response = await stage.http.get("/metrics", headers={"X-Forwarded-For": "192.0.2.7"})
    assert (response.status_code, response.json()["message"]) == (404, "NOT_FOUND")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\x00") | st.just(2**80),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELD_NAMES = st.sampled_from(["name", "branch", "executor_id", "developers_id", "keep_number_build", "value", "roles"])
RESOURCE_NAMES = st.sampled_from(["project", "secret", "developer", "executor", "credential", "build"])
HOSTILE_BODIES = (
    st.binary(max_size=40)
    | st.sampled_from(
        [b"[" * 100_000, b'{"a":' * 5000, b"NaN", b'"\\ud800"', b"9" * 5000, b"null", b"[1]", b"\xff\xfe"]
    )
    | st.dictionaries(
        RESOURCE_NAMES, st.dictionaries(FIELD_NAMES, JSON_VALUES, max_size=3) | JSON_VALUES, max_size=2
    ).map(lambda body: json.dumps(body).encode())
)
CREATE_COMMANDS: dict[str, type[Command]] = {
    "projects": CreateProject,
    "secrets": CreateSecret,
    "developers": RegisterUser,
    "executors": CreateExecutor,
    "credentials": CreateCredential,
}


def refuse_all(_command: Command) -> None:
    raise RequestRejected("REQUEST_INVALID")


@pytest.fixture
async def stage_rejecting_creation(stage: GatewayStage) -> GatewayStage:
    for message_type in CREATE_COMMANDS.values():
        await stage.services.serve(message_type, refuse_all)
    return stage


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=HOSTILE_BODIES, path=st.sampled_from([*CREATE_COMMANDS]))
async def test_no_request_body_causes_a_server_error(
    stage_rejecting_creation: GatewayStage, raw: bytes, path: str
) -> None:
    headers = stage_rejecting_creation.admin | {"Content-Type": "application/json"}
    response = await stage_rejecting_creation.http.post(f"/api/admin/{path}", content=raw, headers=headers)
    assert 400 <= response.status_code < 500
    assert response.json().keys() == ERROR_FIELDS
