"""A gateway that does not serve one of the compatible APIs."""

from collections.abc import AsyncIterator

import pytest

from libs.settings import ApiSettings, Settings
from tests.support.in_process.gateway_stage import GatewayStage, open_gateway_stage
from tests.support.infrastructure.servers import running_nats

ROUTES = {
    "free_commit": [("GET", "/api/developer/projects"), ("PATCH", "/api/admin/secrets/1/name")],
    "gitflic": [("GET", "/api/admin/user"), ("POST", "/api/admin/runners/x/edit")],
    "runners": [("POST", "/api/v4/jobs/request"), ("DELETE", "/api/v4/runners"), ("POST", "/-/runner/registration")],
}
SCHEMAS = {"free_commit": "DeveloperGithubUsernameRequest", "gitflic": "SshKeyPage", "runners": "JobRequest"}
TAGS = {"free_commit": "Executors", "gitflic": "Users", "runners": "Runner protocol"}
ALIASES = {"free_commit": "/api-free-commit/guest/ping", "gitflic": "/rest-api/guest/ping"}


@pytest.fixture(params=ROUTES)
async def disabled(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def stage(disabled: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayStage]:
    with running_nats(tmp_path_factory.mktemp("bus")) as server:
        async with open_gateway_stage(server.program.url, api=ApiSettings(**{disabled: False})) as running:
            yield running


async def test_only_the_routes_of_a_disabled_api_are_not_found(stage: GatewayStage, disabled: str) -> None:
    for api, routes in ROUTES.items():
        for method, path in routes:
            response = await stage.http.request(method, path)
            assert (response.status_code == 404) is (api == disabled), path
            if api == disabled and not path.startswith("/api/v4/"):
                assert response.json()["message"] == "NOT_FOUND"


async def test_only_the_path_prefix_of_a_disabled_api_is_not_found(stage: GatewayStage, disabled: str) -> None:
    answers = {api: (await stage.http.get(path)).status_code for api, path in ALIASES.items()}
    assert answers == {api: 404 if api == disabled else 200 for api in ALIASES}


async def test_sign_in_and_own_routes_remain(stage: GatewayStage) -> None:
    assert (await stage.http.get("/api/guest/ping")).status_code == 200
    assert (await stage.http.get("/api/user/info", headers=stage.developer)).status_code == 200
    assert (await stage.http.get("/api/admin/history/project/1")).status_code == 401


async def test_the_openapi_document_omits_a_disabled_api(stage: GatewayStage, disabled: str) -> None:
    document = (await stage.http.get("/api/openapi.json")).json()
    paths, schemas = document["paths"], document["components"]["schemas"]
    assert (SCHEMAS[disabled] in schemas, "SessionView" in schemas) == (False, True)
    assert TAGS[disabled] not in [tag["name"] for tag in document["tags"]]
    for api, examples in {
        "free_commit": ["/api/developer/projects", "/api/admin/secrets/{secret_id}/name"],
        "gitflic": ["/api/admin/user", "/api/admin/runners/{runner_uuid}/edit"],
        "runners": ["/api/v4/jobs/request", "/-/runner/registration"],
    }.items():
        assert [path in paths for path in examples] == [api != disabled] * 2


def test_each_compatible_api_has_a_variable() -> None:
    environ = {f"HEADRACE_API_{name.upper()}": "false" for name in ROUTES}
    assert Settings.from_environment(environ).api == ApiSettings(free_commit=False, gitflic=False, runners=False)
