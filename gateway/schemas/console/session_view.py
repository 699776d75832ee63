"""Response models of browser sessions and of the ways to begin one."""

from pydantic import Field

from gateway.adapters.free_commit.models import User
from gateway.forwarding.serializers import ResponseModel


class SessionView(ResponseModel):
    user: User
    expires_in: int = Field(description="seconds until the session ends, unless it is renewed", examples=[3600])
    renewable_for: int = Field(description="seconds until the user has to sign in again", examples=[604800])


class ProviderSignIn(ResponseModel):
    name: str = Field(description="name of the OpenID provider", examples=["Example SSO"])
    path: str = Field(description="where a browser begins to sign in", examples=["/api/auth/oidc/login"])


class SignInMethods(ResponseModel):
    password: bool = Field(description="whether the console accepts passwords")
    oidc: ProviderSignIn | None = Field(description="null: no OpenID provider is configured")


class ProviderPage(ResponseModel):
    url: str = Field(description="page of the OpenID provider", examples=["https://sso.example.org/authorize?state=x"])
