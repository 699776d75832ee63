"""Types of path parameters, with their descriptions."""

from typing import Annotated, Any

from fastapi import HTTPException, Path
from starlette.convertors import Convertor, register_url_convertor

from gateway.schemas.loose_types import MAX_ID
from gateway.schemas.samples import UUID


class IdConvertor(Convertor[int]):
    """Convertor of decimal ids that fit into 64 bits; larger ids give 404. In a path: `{project_id:id}`."""

    regex = "[0-9]{1,19}"

    def convert(self, value: str) -> int:
        if int(value) > MAX_ID:
            raise HTTPException(404)
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("id", IdConvertor())


def _number(of: str) -> Any:
    return Path(description=f"the number of the {of}", ge=0, le=MAX_ID, examples=[17])


def _text(description: str, example: str) -> Any:
    return Path(description=description, min_length=1, examples=[example])


BuildId = Annotated[int, _number("build")]
BuildLocalId = Annotated[int, _number("build within its project")]
BuildUuid = Annotated[
    str, _text("UUID of the build, returned by its launch and in the lists of queued and running builds", UUID)
]
CompanyAlias = Annotated[str, _text("alias of the company, case-insensitive", "acme")]
CompanyId = Annotated[int, _number("company")]
CredentialId = Annotated[int, _number("credential")]
ArtifactUuid = Annotated[str, _text("UUID of the artifact", UUID)]
DeliveryId = Annotated[str, _text("UUID of the delivery", UUID)]
ExecutorId = Annotated[int, _number("executor")]
JobId = Annotated[int, _number("job")]
JobLocalId = Annotated[int, _number("job within its project")]
KeyUuid = Annotated[str, _text("UUID of the key", UUID)]
OwnerAlias = Annotated[str, _text("username of a user or alias of a company, case-insensitive", "ivan")]
ProjectAlias = Annotated[str, _text("alias of the project, case-insensitive", "website")]
ProjectId = Annotated[int, _number("project")]
Recipient = Annotated[str, _text("e-mail address of the recipient", "ivan@example.org")]
RunnerId = Annotated[int, _number("runner")]
RunnerUuid = Annotated[str, _text("UUID of the runner", UUID)]
SecretId = Annotated[int, _number("secret")]
Step = Annotated[str, _text("name of the section read last; `-1` at first", "build")]
TokenId = Annotated[int, _number("token")]
UserAlias = Annotated[str, _text("username, case-insensitive", "ivan")]
UserId = Annotated[int, _number("user")]

BY_NAME: dict[str, Any] = {
    "build_id:id": BuildId,
    "build_local_id:id": BuildLocalId,
    "company_id:id": CompanyId,
    "credential_id:id": CredentialId,
    "delivery_id": DeliveryId,
    "executor_id": BuildUuid,
    "executor_id:id": ExecutorId,
    "job_id:id": JobId,
    "job_local_id:id": JobLocalId,
    "key_uuid": KeyUuid,
    "project_id:id": ProjectId,
    "recipient": Recipient,
    "secret_id:id": SecretId,
    "token_id:id": TokenId,
    "user_id:id": UserId,
}
"""Types of the path parameters that become fields of a message, by their form in the path."""
