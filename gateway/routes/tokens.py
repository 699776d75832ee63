"""Routes of personal API tokens: the user's own, and those of any user for administrators."""

from contracts.identity import CreateApiToken, ListApiTokens, RevokeApiToken
from gateway.framework.route_table import command, query
from gateway.schemas import api_tokens

OWN_USER = (api_tokens.add_own_user_id,)
TOKENS_OF_USER = "/admin/developers/{user_id:id}/tokens"

TOKENS = (
    query("/user/tokens", ListApiTokens, parts=OWN_USER, write=api_tokens.TOKENS),
    command(
        "POST",
        "/user/tokens",
        CreateApiToken,
        body=api_tokens.TOKEN,
        parts=OWN_USER,
        status=201,
        write=api_tokens.NEW_TOKEN,
        errors=("TOKEN_LIMIT",),
    ),
    command("DELETE", "/user/tokens/{token_id:id}", RevokeApiToken, parts=OWN_USER, status=204),
    query(TOKENS_OF_USER, ListApiTokens, write=api_tokens.TOKENS),
    command("DELETE", f"{TOKENS_OF_USER}/{{token_id:id}}", RevokeApiToken, status=204),
)
