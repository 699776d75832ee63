"""The route of avatars. It needs no token."""

from starlette.responses import Response

from contracts.errors import RequestRejected
from gateway.adapters.gitflic.avatars import CACHE_HEADERS, FILE_NAME, draw_identicon
from gateway.dependencies import Anyone
from gateway.errors import errors
from gateway.http.path_prefixes import CompatibleApi
from gateway.routers.prefix_router import PrefixRouter

PNG = "image/png"
router = PrefixRouter(CompatibleApi.GITFLIC, prefix="/api/upload/img", tags=["Users"])


@router.get(
    "/{name}",
    response_class=Response,
    summary="Get the avatar of a user, drawn from the name of the file.",
    responses={
        200: {"content": {PNG: {"schema": {"type": "string", "format": "binary"}}}},
        **errors("NOT_FOUND"),
    },
)
async def get_avatar(name: str, _caller: Anyone) -> Response:
    file_name = FILE_NAME.fullmatch(name)
    if file_name is None:
        raise RequestRejected("NOT_FOUND")
    return Response(draw_identicon(file_name[1]), headers=CACHE_HEADERS, media_type=PNG)
