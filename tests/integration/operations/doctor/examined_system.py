"""A system that `headrace admin doctor` examines."""

from dataclasses import dataclass
from typing import Any

from pymongo.asynchronous.database import AsyncDatabase

from infra.doctor.diagnosis import diagnose
from infra.doctor.finding import Finding
from infra.service_catalog import load_services
from libs.documents import Document
from libs.service.connections import get_database
from libs.settings import Settings
from tests.support.in_process.service_stage import ServiceStage


@dataclass(frozen=True)
class ExaminedSystem:
    """A running system, its databases, and the findings of `headrace admin doctor` about it."""

    settings: Settings

    async def findings(self, **changed: Any) -> dict[str, Finding]:
        _, found = await diagnose(self.settings.model_copy(update=changed))
        return {finding.check: finding for finding in found}

    def database(self, service: str, client: Any) -> AsyncDatabase[Document]:
        return get_database(client, self.settings, service)

    async def migrate(self) -> None:
        await ServiceStage(self.settings).migrate(*load_services())
