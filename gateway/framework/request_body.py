"""Request bodies: size limit, JSON parsing, and flattening of Free Commit's envelopes."""

from typing import Any

from pydantic_core import from_json
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from contracts.errors import RequestRejected

MAX_BODY_BYTES = 1024 * 1024
RESERVED = "uploaded_file"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # some Windows programs begin a file with it


async def read_body(receive: Receive, limit: int = MAX_BODY_BYTES) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise RequestRejected("REQUEST_TOO_LARGE", f"The body of this request can have at most {limit} bytes.")
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


def parameters(raw: bytes, content_type: str) -> dict[str, Any]:
    """Return the JSON object in the body. As in Free Commit, it is empty if the body is empty or not sent as JSON."""
    if "application/json" not in content_type.lower() or not raw.strip():
        return {}
    return json_object(raw)


def json_object(raw: bytes) -> dict[str, Any]:
    try:
        parsed = from_json(raw.removeprefix(BYTE_ORDER_MARK), allow_inf_nan=False)
    except ValueError as error:
        # the parser's message names a position but quotes nothing of the body
        raise RequestRejected("REQUEST_MALFORMED", f"The body is not valid JSON: {error}.") from None
    if parsed is None:
        return {}
    if not isinstance(parsed, dict):
        raise RequestRejected("REQUEST_INVALID", "The body must be a JSON object.")
    return parsed


def flattened(body: dict[str, Any]) -> dict[str, Any]:
    """Return `{"project_name": "x"}` for `{"project": {"name": "x"}}`; deeper members stay unchanged."""
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
