"""Responses of the routes of requests to other servers."""

from pydantic import Field

from gateway.forwarding.serializers import Moment, ResponseModel, serialize
from gateway.schemas.samples import MOMENT, UUID


class OutgoingRequest(ResponseModel):
    id: str = Field(description="UUID", examples=[UUID])
    kind: str = Field(
        description="`commit_status`: the result of a build, for its commit; `webhook` or `slack`: to a receiver",
        examples=["commit_status"],
    )
    project_id: int = Field(description="number of the project", examples=[5])
    build_id: int = Field(description="number of the build", examples=[17])
    target: str = Field(description="`github`, `gitlab` or `gitea`; or the receiver's server", examples=["gitlab"])
    receiver_id: int | None = Field(description="number of the receiver")
    sha: str = Field(description="commit, for its status", examples=["4f2c8d1e0b7a69538f4e2d1c0b9a88776655443f"])
    state: str = Field(
        description="`pending`, `running`, `success`, `failure` or `canceled`: state of the build", examples=["success"]
    )
    event: str = Field(description="`started` or `finished`, for a receiver")
    event_id: str = Field(description="`id` of the CloudEvent")
    fixed: bool = Field(validation_alias="is_fix", description="success after a failure on the same branch")
    repeats: str | None = Field(description="UUID of the request that was sent again")
    status: str = Field(description="`requested`, `sent`, `skipped`, or `gave_up` (abandoned)", examples=["sent"])
    attempts: int = Field(description="number of attempts to send it")
    response_code: int | None = Field(description="HTTP status of the last response; null: none", examples=[200])
    reason: str = Field(description="why the last attempt failed, or why it was skipped; empty: it did not fail")
    requested_at: Moment | None = Field(examples=[MOMENT])
    ended_at: Moment | None = Field(description="when it was sent, skipped or abandoned", examples=[MOMENT])


class OutgoingPage(ResponseModel):
    outgoing_requests: tuple[OutgoingRequest, ...] = Field(validation_alias="rows", description="newest first")
    next: str | None = Field(description="`after` of the next page; null at the end")


ONE_OUTGOING_REQUEST = serialize(OutgoingRequest)
OUTGOING_PAGE = serialize(OutgoingPage)
