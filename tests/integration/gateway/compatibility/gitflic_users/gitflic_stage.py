"""The stage of the tests of GitFlic's user routes, and sample request bodies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

from libs.messaging.request_reply import MessageClient
from tests.support.external.ssh_keys import generate_public_key as public_key
from tests.support.in_process.service_stage import ServiceStage

PASSWORD = "millwheel-7"
URL = "http://ci.example:8080"
UNKNOWN_UUID = "0d9b1a3c-0000-4000-8000-000000000000"


@dataclass(frozen=True)
class GitFlicStage:
    """Two gateways, and functions that create users and SSH keys and log in through GitFlic's routes."""

    first_gateway: httpx.AsyncClient  # base URL ends in /rest-api; requests are authenticated as the administrator
    second_gateway: httpx.AsyncClient
    caller: MessageClient
    stage: ServiceStage

    async def create_user(self) -> str:
        alias = f"u{uuid4().hex[:8]}"
        created = await self.first_gateway.post("/user", json=user_body(alias))
        assert created.status_code == 200, created.text
        return alias

    async def create_key(self, alias: str, **more: Any) -> dict[str, Any]:
        created = await self.first_gateway.post(f"/admin/user/{alias}/key/create", json=key_body(**more))
        assert created.status_code == 200, created.text
        found: dict[str, Any] = created.json()
        return found

    async def log_in(self, alias: str, password: str = PASSWORD) -> httpx.Response:
        body = {"auth": {"username": alias, "password": password}}
        return await self.first_gateway.post("/auth/token", json=body, headers={"Authorization": ""})


def key_body(**more: Any) -> dict[str, Any]:
    return {"publicKey": public_key(), "title": "Laptop", **more}


def user_body(alias: str, /, **more: Any) -> dict[str, Any]:
    return {"email": f"{alias}@example.org", "password": PASSWORD, "alias": alias, **more}


def sorted_errors(answers: Sequence[httpx.Response]) -> list[tuple[int, str]]:
    return sorted((response.status_code, response.json().get("message", "")) for response in answers)
