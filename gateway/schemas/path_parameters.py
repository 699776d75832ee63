"""Types of path parameters, with their descriptions."""

import re
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
ArtifactUuid = Annotated[str, _text("UUID of the artifact", UUID)]
JobId = Annotated[int, _number("job")]
JobLocalId = Annotated[int, _number("job within its project")]
OwnerAlias = Annotated[str, _text("username of a user or alias of a company, case-insensitive", "ivan")]
ProjectAlias = Annotated[str, _text("alias of the project, case-insensitive", "website")]
ProjectId = Annotated[int, _number("project")]
Recipient = Annotated[str, _text("e-mail address of the recipient", "ivan@example.org")]
RunnerId = Annotated[int, _number("runner")]
RunnerUuid = Annotated[str, _text("UUID of the runner", UUID)]
Step = Annotated[str, _text("name of the section read last; `-1` at first", "build")]
UserAlias = Annotated[str, _text("username, case-insensitive", "ivan")]

IRREGULAR: dict[str, Any] = {
    "build_local_id:id": BuildLocalId,
    "executor_id": BuildUuid,
    "job_local_id:id": JobLocalId,
    "recipient": Recipient,
}
"""Types of path parameters that do not follow from their names, by their form in the path."""


def path_parameter(name: str, convertor: str) -> Any:
    """Return the type of a path parameter like `label_id`: a number with the convertor `:id`, else a UUID."""
    if name + convertor in IRREGULAR:
        return IRREGULAR[name + convertor]
    kind = object_kind(name).replace("_", " ")
    return Annotated[int, _number(kind)] if convertor == ":id" else Annotated[str, _text(f"UUID of the {kind}", UUID)]


def object_kind(name: str) -> str:
    """Return the kind of object that a path parameter selects: `label` for `label_id`."""
    return re.sub("_(id|uuid|alias)$", "", name)
