"""Personal API tokens: a user's own, and administrators' view of everybody's."""

from contracts.identity import CreateApiToken, ListApiTokens, RevokeApiToken
from gateway.dialects import tokens
from gateway.routing import command, query

own = (tokens.of_oneself,)
BASE = "/admin/developers/{user_id:id}/tokens"

TOKENS = (
    query("/user/tokens", ListApiTokens, parts=own, write=tokens.TOKENS),
    command(
        "POST",
        "/user/tokens",
        CreateApiToken,
        body=tokens.TOKEN,
        parts=own,
        status=201,
        write=tokens.NEW_TOKEN,
        errors=("TOKEN_LIMIT",),
    ),
    command("DELETE", "/user/tokens/{token_id:id}", RevokeApiToken, parts=own, status=204),
    query(BASE, ListApiTokens, write=tokens.TOKENS),
    command("DELETE", f"{BASE}/{{token_id:id}}", RevokeApiToken, status=204),
)
