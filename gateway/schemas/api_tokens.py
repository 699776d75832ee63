"""Response models of personal API tokens."""

from pydantic import Field

from gateway.forwarding.serializers import Moment, ResponseModel, serialize
from gateway.schemas.samples import MOMENT, UUID


class ApiToken(ResponseModel):
    id: int = Field(description="number, unique among resources of the same type")
    uuid: str = Field(description="alternative id", examples=[UUID])
    name: str = Field(examples=["website"])
    scopes: tuple[str, ...] = Field(
        description="scopes of the token; empty: all rights of its user", examples=[["BUILD_READ"]]
    )
    created_at: Moment = Field(description="when the token was created", examples=[MOMENT])
    expires_at: str | None = Field(
        description="last day on which the token is valid, in UTC; null: no expiry", examples=["2030-12-31"]
    )
    last_used_at: Moment | None = Field(
        description="latest use, to the minute; null: never, or more than a year ago",
        examples=[MOMENT],
    )


class NewApiToken(ApiToken):
    value: str = Field(description="the token, shown only in this response", examples=["the secret value"])


TOKENS, NEW_TOKEN = serialize(list[ApiToken], "tokens"), serialize(NewApiToken)
