"""A replica of the runners service that tests call directly."""

from dataclasses import dataclass
from typing import Any

import pytest

from contracts.errors import RequestRejected
from contracts.messages import Command, CommandReply, Page, Query
from contracts.runners import (
    AuthenticateRunner,
    GetRunner,
    ListRunners,
    RegisterRunner,
    RegistrationInfo,
    RevealRegistrationToken,
    RunnerInfo,
    RunnerProfile,
    RunnerRegistration,
    RunnerView,
)
from libs.service.runtime import Runtime

LINUX_INFO = RunnerInfo(version="17.0", platform="linux", architecture="amd64")


@dataclass(frozen=True)
class Replica:
    """One replica of the runners service. Tests call it directly, with the message bodies that NATS would deliver."""

    runtime: Runtime

    async def request(self, message: Command | Query, headers: dict[str, str] | None = None) -> bytes:
        return await self.runtime.respond(type(message), message.model_dump_json().encode(), headers or {})

    async def send(self, command: Command) -> CommandReply:
        return CommandReply.model_validate_json(await self.request(command))

    async def start(self) -> None:
        service = self.runtime.service
        assert service.on_start
        await service.on_start(self.runtime.background_context("start"))

    async def run_periodic_task(self, name: str) -> None:
        (ticker,) = (task for task in self.runtime.service.periodic_tasks if task.name == name)
        await ticker.run(self.runtime.background_context(ticker.name))

    async def registration_token(self, scope: str = "service") -> str:
        answer = await self.request(RevealRegistrationToken(scope=scope))
        return RegistrationInfo.model_validate_json(answer).registration_token

    async def register(self, **settings: Any) -> RunnerRegistration:
        settings = {"registration_token": await self.registration_token(), "name": "Gloin"} | settings
        return RunnerRegistration.model_validate_json(await self.request(RegisterRunner(**settings)))

    async def touch(self, token: str, ip_address: str = "10.0.0.1") -> RunnerProfile:
        command = AuthenticateRunner(token=token, ip_address=ip_address, info=LINUX_INFO)
        return RunnerProfile.model_validate_json(await self.request(command))

    async def get_view(self, uuid: str) -> RunnerView:
        return RunnerView.model_validate_json(await self.request(GetRunner(runner_uuid=uuid)))

    async def list_runners(self, **query: Any) -> Page:
        return Page.model_validate_json(await self.request(ListRunners(**query)))

    async def find_presence(self, uuid: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = await self.runtime.database["presence"].find_one({"_id": uuid})
        return found


async def get_outcome_code(replica: Replica, message: Command | Query) -> str:
    """Send the message. Return the code of its rejection, or "done"."""
    try:
        await replica.request(message)
    except RequestRejected as rejected:
        return rejected.code
    return "done"


async def get_error_code(replica: Replica, message: Command | Query) -> str:
    with pytest.raises(RequestRejected) as refused:
        await replica.request(message)
    return refused.value.code
