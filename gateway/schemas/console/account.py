"""Bodies and responses of the routes of a user's account, and of the list of mails."""

from pydantic import ConfigDict, Field

from gateway.adapters.free_commit.request_fields import TextOrEmpty, at_most
from gateway.forwarding.serializers import Moment, ResponseModel, serialize
from gateway.schemas.json_body import Fields, JsonBody, envelope
from gateway.schemas.loose_types import Text
from gateway.schemas.samples import MOMENT, UUID


class OwnPasswordRequest(JsonBody):
    model_config = ConfigDict(json_schema_extra={"required": ["current_password", "password"]})

    current_password: TextOrEmpty = Field("", description="current password", json_schema_extra=at_most(1024))
    password: Text = Field(None, description="new password", json_schema_extra=at_most(1024))


class OwnEmailRequest(JsonBody):
    model_config = ConfigDict(json_schema_extra={"required": ["current_password"]})

    current_password: TextOrEmpty = Field("", description="current password", json_schema_extra=at_most(1024))
    email: Text = Field(None, description="new e-mail address", examples=["ivan@example.org"])


class CurrentPasswordRequest(JsonBody):
    model_config = ConfigDict(json_schema_extra={"required": ["current_password"]})

    current_password: TextOrEmpty = Field("", description="current password", json_schema_extra=at_most(1024))


class IdentityFields(Fields):
    model_config = ConfigDict(json_schema_extra={"required": ["subject"]})

    subject_id: Text = Field(
        None,
        alias="subject",
        description="identifier of the account at the OpenID provider: its claim `sub`",
        examples=["248289761001"],
        json_schema_extra=at_most(255),
    )


IDENTITY = envelope("identity", IdentityFields)


class IdentityLinkView(ResponseModel):
    issuer: str | None = Field(
        description="URL of the provider; null: not linked", examples=["https://sso.example.org"]
    )
    subject: str | None = Field(description="claim `sub` of the account; null: not linked", examples=["248289761001"])


IDENTITY_LINK = serialize(IdentityLinkView)


class Notification(ResponseModel):
    id: str = Field(description="UUID", examples=[UUID])
    kind: str = Field(description="`build_failed`, `build_succeeded` or `test`", examples=["build_failed"])
    status: str = Field(description="`requested`, `sent`, `skipped`, or `gave_up` (abandoned)", examples=["sent"])
    user_id: int | None = Field(description="number of the recipient; null: an address", examples=[17])
    title: str = Field(description="subject of the mail", examples=["Build 17 of website failed"])
    attempts: int = Field(description="attempts to send it that failed")
    reason: str = Field(description="why the last attempt failed, or why it was skipped; empty: it did not fail")
    requested_at: Moment | None = Field(examples=[MOMENT])
    ended_at: Moment | None = Field(description="when it was sent, skipped or abandoned", examples=[MOMENT])


class NotificationPage(ResponseModel):
    notifications: tuple[Notification, ...] = Field(validation_alias="rows", description="newest first")
    next: str | None = Field(description="`after` of the next page; null at the end")


NOTIFICATION_PAGE = serialize(NotificationPage)
