"""The members of projects: the request body and the list."""

from pydantic import ConfigDict, Field

from contracts.projects import ProjectMember
from gateway.forwarding.serializers import passthrough
from gateway.schemas.json_body import Fields, envelope
from gateway.schemas.loose_types import Text


class MemberFields(Fields):
    model_config = ConfigDict(json_schema_extra={"required": ["role"]})

    role: Text = Field(None, description="`reader`, `developer` or `maintainer`", examples=["reader"])


MEMBER = envelope("member", MemberFields)
MEMBERS = passthrough(list[ProjectMember])
