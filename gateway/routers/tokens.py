"""Routes of personal API tokens: users manage their own tokens, administrators the tokens of all users."""

from typing import Annotated, Any

from fastapi import Depends, Security

from contracts.identity import CreateApiToken, ListApiTokens, RevokeApiToken
from gateway.adapters.free_commit.request_fields import TOKEN
from gateway.dependencies import admin, any_user
from gateway.forwarding.forward import forward
from gateway.routers.prefix_router import json_router
from gateway.schemas.api_tokens import NEW_TOKEN, TOKENS
from libs.eventstore.decider import Actor

AdminReader = Annotated[Actor, Security(admin, scopes=["USER_READ"])]
AdminWriter = Annotated[Actor, Security(admin, scopes=["USER_WRITE"])]

own = json_router("/api/user/tokens", "Access")
admins = json_router("/api/admin/developers", "Access")
LIST = "List a user's tokens by id, including expired ones, without revoked ones."
CREATE = "Create a token for programs that act in the user's name. Only this response contains its value."
REVOKE = "Revoke the token."


async def get_user_id(user: Annotated[Actor, Depends(any_user)]) -> int:
    return user.id


def own_user(*scopes: str) -> dict[str, Any]:
    """Return the dependencies of a route for the user's own data. Without a scope, it accepts no personal token."""
    return {
        "user": Annotated[Actor, Security(any_user, scopes=scopes)],
        "user_id": Annotated[int, Security(get_user_id, scopes=scopes)],
    }


forward(own, "GET", "", ListApiTokens, summary=LIST, response=TOKENS, **own_user("USER_READ"))
forward(
    own,
    "POST",
    "",
    CreateApiToken,
    summary=CREATE,
    body=TOKEN,
    response=NEW_TOKEN,
    status_code=201,
    errors=("TOKEN_LIMIT",),
    **own_user(),  # no scope: a personal token must not create a token with more scopes or a later expiry
)
forward(own, "DELETE", "/{token_id:id}", RevokeApiToken, summary=REVOKE, status_code=204, **own_user("USER_WRITE"))
forward(admins, "GET", "/{user_id:id}/tokens", ListApiTokens, AdminReader, LIST, response=TOKENS)
forward(admins, "DELETE", "/{user_id:id}/tokens/{token_id:id}", RevokeApiToken, AdminWriter, REVOKE, status_code=204)
