"""Request bodies: read within a limit, parsed without surprises, and flattened for Free Commit."""

from typing import Any

from pydantic_core import from_json
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from contracts.errors import RequestRejected

LARGEST = 1024 * 1024
RESERVED = "uploaded_file"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # Windows writes one at the beginning of files


async def read_body(receive: Receive, limit: int = LARGEST) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise RequestRejected("REQUEST_TOO_LARGE", f"A body on this route has at most {limit} bytes.")
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


def parameters(raw: bytes, content_type: str) -> dict[str, Any]:
    """The members of a body; none where it is empty or is not called JSON, which is Free Commit's way."""
    if "application/json" not in content_type.lower() or not raw.strip():
        return {}
    return json_object(raw)


def json_object(raw: bytes) -> dict[str, Any]:
    try:
        parsed = from_json(raw.removeprefix(BYTE_ORDER_MARK), allow_inf_nan=False)
    except ValueError as error:
        # the position is the parser's own word; what stands there is not repeated
        raise RequestRejected("REQUEST_MALFORMED", f"The body is not valid JSON: {error}.") from None
    if parsed is None:
        return {}
    if not isinstance(parsed, dict):
        raise RequestRejected("REQUEST_INVALID", "The body is one JSON object.")
    return parsed


def flattened(body: dict[str, Any]) -> dict[str, Any]:
    """`{"project": {"name": "x"}}` is `{"project_name": "x"}`; deeper members stay as they are."""
    flat: dict[str, Any] = {}
    for name, value in body.items():
        match value:
            case _ if name == RESERVED:
                continue
            case dict():
                flat.update({f"{name}_{member}": inner for member, inner in value.items()})
            case [dict(), *_] if all(isinstance(one, dict) for one in value):
                for member in {member: None for one in value for member in one}:
                    flat[f"{name}_{member}"] = [one[member] for one in value if member in one]
            case _:
                flat[name] = value
    return flat
