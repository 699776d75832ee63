"""The content of requests to receivers: a CloudEvent about a build, or a chat message. No I/O.

Sources: https://github.com/cloudevents/spec (version 1.0, structured mode), https://www.standardwebhooks.com (the
signature), https://docs.slack.dev/messaging/formatting-message-text, https://developers.mattermost.com (the format of
chat messages).
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping

from contracts.builds import BuildRow
from contracts.notifications import OutgoingRequested
from services.notifications.domain.receiver import signing_key
from services.notifications.outgoing.forges import CommitState

CLOUD_EVENT_TYPE = "application/cloudevents+json"
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "@\u200b"}  # a zero-width space after @ prevents mentions
RESULTS = {
    CommitState.PENDING: "is queued",
    CommitState.RUNNING: "has started",
    CommitState.SUCCESS: "succeeded",
    CommitState.FAILURE: "failed",
    CommitState.CANCELED: "was canceled",
}
HASH_LENGTH = 8


def compose_cloud_event(request: OutgoingRequested, build: BuildRow, initiator: str, url: str) -> bytes:
    """Return the event as JSON. `url`: URL of the server, without a trailing slash."""
    at = request.occurred_at
    return json.dumps(
        {
            "specversion": "1.0",
            "id": request.event_id,
            "source": f"{url}/api/developer/projects/{request.project_id}",
            "type": f"headrace.build.{request.event}",
            "subject": f"build-{request.build_id}",
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else None,
            "datacontenttype": "application/json",
            "data": {
                "build_id": request.build_id,
                "build_number": build.local_id,
                "project_id": request.project_id,
                "project_name": build.project_name,
                "state": request.state,
                "fixed": request.is_fix,
                "ref": build.ref or build.pinned_ref,
                "sha": build.sha or build.pinned_sha,
                "source": build.source,
                "initiator": {"id": build.initiator_id, "name": initiator} if build.initiator_id else None,
                "queued_at": build.queued_at.isoformat() if build.queued_at else None,
                "url": link_to_build(request, url),
            },
        }
    ).encode()


def sign(secret: str, event_id: str, timestamp: int, content: bytes) -> Mapping[str, str]:
    """Return the headers with the id of the event, the time of the attempt in Unix seconds, and the signature.

    The signature is of the id, the time and the content.
    """
    signed = f"{event_id}.{timestamp}.".encode() + content
    digest = hmac.new(signing_key(secret), signed, hashlib.sha256).digest()
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def compose_chat_message(request: OutgoingRequested, build: BuildRow, url: str) -> bytes:
    """Return the message as JSON: project, build with a link, result, branch and commit."""
    ref = (build.ref or build.pinned_ref or "").removeprefix("refs/heads/").removeprefix("refs/tags/")
    commit = (build.sha or build.pinned_sha or "")[:HASH_LENGTH]
    place = ", ".join(filter(None, (escape(ref), commit)))
    result = "succeeded again" if request.is_fix else RESULTS[CommitState(request.state)]
    link = f"<{link_to_build(request, url)}|build {request.build_id}>"
    text = f"{escape(build.project_name)}: {link} {result}" + (f" ({place})" if place else "")
    return json.dumps({"text": text}).encode()


def escape(text: str) -> str:
    """Return the text on one line. Characters that would begin a link or a mention are escaped."""
    return "".join(ENTITIES.get(character, character) for character in " ".join(text.split()))


def link_to_build(request: OutgoingRequested, url: str) -> str:
    return f"{url}/ui/builds/{request.build_id}"
