"""A resource is added with three files, its contract, its service and its router, without a change of the product."""

from collections.abc import AsyncIterator

import pytest

from contracts.errors import CODES
from tests.integration.gateway.new_resource.labels import LABEL_CODES
from tests.integration.gateway.new_resource.labels_router import create_router
from tests.integration.gateway.new_resource.labels_service import create_service
from tests.support.in_process.gateway_stage import GatewayStage, open_gateway_stage
from tests.support.in_process.service_stage import empty_stage
from tests.support.infrastructure.servers import Servers

PATH = "/api/labels"


@pytest.fixture
async def stage(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GatewayStage]:
    for code, meaning in LABEL_CODES.items():
        monkeypatch.setitem(CODES, code, meaning)
    async with empty_stage(servers) as services:
        await services.migrate(create_service())
        async with services.running(create_service), open_gateway_stage(servers.nats_url) as running:
            running.gateway.app.include_router(create_router())
            yield running


async def create(stage: GatewayStage, name: str, **headers: str) -> tuple[int, dict[str, object]]:
    response = await stage.http.post(PATH, json={"label": {"name": name}}, headers=stage.admin | headers)
    return response.status_code, response.json()


async def test_the_new_resource_is_created_read_changed_and_deleted(stage: GatewayStage) -> None:
    assert await create(stage, "urgent") == (201, {"id": 1, "name": "urgent"})
    assert await create(stage, "later") == (201, {"id": 2, "name": "later"})
    changed = await stage.http.patch(f"{PATH}/2/name", json={"label": {"name": "never"}}, headers=stage.admin)
    assert (changed.status_code, changed.json()) == (200, {"id": 2, "name": "never"})
    assert (await stage.http.delete(f"{PATH}/1", headers=stage.admin)).status_code == 204
    listed = await stage.http.get(PATH, headers=stage.developer)
    assert listed.json() == [{"id": 2, "name": "never"}]
    assert (await stage.http.get(f"{PATH}/2", headers=stage.developer)).json() == {"id": 2, "name": "never"}


async def test_the_new_resource_has_error_codes_of_its_own(stage: GatewayStage) -> None:
    await create(stage, "urgent")
    status, body = await create(stage, "urgent")
    assert (status, body["message"]) == (422, "LABEL_NAME_TAKEN")
    missing = await stage.http.get(f"{PATH}/7", headers=stage.developer)
    assert (missing.status_code, missing.json()["message"]) == (404, "LABEL_NOT_FOUND")
    status, body = await create(stage, "")
    assert (status, body["message"]) == (422, "REQUEST_INVALID")


async def test_the_new_resource_checks_tokens_and_roles(stage: GatewayStage) -> None:
    assert (await stage.http.get(PATH)).status_code == 401
    refused = await stage.http.post(PATH, json={"label": {"name": "x"}}, headers=stage.developer)
    assert (refused.status_code, refused.json()["message"]) == (403, "FORBIDDEN")


async def test_a_retried_creation_of_the_new_resource_has_no_second_effect(stage: GatewayStage) -> None:
    key = {"Idempotency-Key": "first"}
    assert await create(stage, "urgent", **key) == await create(stage, "urgent", **key)
    status, body = await create(stage, "other", **key)
    assert (status, body["message"]) == (422, "IDEMPOTENCY_KEY_REUSED")


async def test_the_new_resource_is_in_the_openapi_document(stage: GatewayStage) -> None:
    document = (await stage.http.get("/api/openapi.json")).json()
    assert [*document["paths"][PATH]] == ["get", "post"]
    one = document["paths"][f"{PATH}/{{label_id}}"]
    assert [*one] == ["get", "delete"]
    assert one["get"]["parameters"] == [{"$ref": "#/components/parameters/label_id"}]
    assert document["components"]["parameters"]["label_id"]["description"] == "the number of the label"
    responses = document["components"]["responses"]
    documented = [
        responses[each["$ref"].rpartition("/")[2]]["description"]
        for each in one["get"]["responses"].values()
        if "$ref" in each
    ]
    assert any("`LABEL_NOT_FOUND`" in description for description in documented)
    assert "/api/developer/projects" in document["paths"]
