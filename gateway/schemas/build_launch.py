"""The request body of a launch, and the variables of a build."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from contracts.builds import LaunchVariable
from gateway.adapters.free_commit.request_fields import TextsOrNone, at_most
from gateway.forwarding.serializers import ResponseModel
from gateway.schemas.json_body import Fields, envelope
from gateway.schemas.loose_types import Text, none_as_empty


class BuildVariable(ResponseModel):
    name: str = Field(
        description="name of the environment variable: letters, digits and underscores; not reserved, not a secret's",
        examples=["DEPLOY_TARGET"],
        json_schema_extra=at_most(255),
    )
    value: str = Field(
        description="not secret: shown to everybody who sees the build; at most 4,096 bytes", examples=["staging"]
    )


def _to_messages(variables: Iterable[BuildVariable]) -> tuple[LaunchVariable, ...]:
    return tuple(LaunchVariable(name=variable.name, value=variable.value) for variable in variables)


BuildVariables = Annotated[tuple[BuildVariable, ...], BeforeValidator(none_as_empty), AfterValidator(_to_messages)]


class BuildFields(Fields):
    ignore_steps: TextsOrNone = Field((), description="names of steps to skip, with `@`", examples=[["@deploy"]])
    ref: Text = Field(None, description="branch to build; null: that of the project", examples=["main"])
    variables: BuildVariables = Field(
        (),
        description="environment variables of all jobs; names and values have at most 32,768 bytes together",
        examples=[[{"name": "DEPLOY_TARGET", "value": "staging"}]],
        json_schema_extra=at_most(50, items=True),
    )


BUILD = envelope("build", BuildFields)
