"""Response model of a browser session."""

from pydantic import Field

from gateway.adapters.free_commit.models import User
from gateway.forwarding.serializers import ResponseModel


class SessionView(ResponseModel):
    user: User
    expires_in: int = Field(description="seconds until the session ends, unless it is renewed", examples=[3600])
    renewable_for: int = Field(description="seconds until the user has to sign in again", examples=[604800])
