"""Requests to receivers: CloudEvents with a signature, and chat messages."""

import json
from datetime import UTC, datetime

from contracts.builds import BuildRow
from contracts.notifications import OutgoingRequested
from services.notifications.receivers.build_messages import compose_chat_message, compose_cloud_event, sign

AT = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
URL = "https://ci.test"
request = OutgoingRequested(
    request_id="r",
    kind="webhook",
    project_id=5,
    build_id=17,
    target="https://a.test",
    sha="",
    state="failure",
    receiver_id=3,
    event="finished",
    event_id="e",
    occurred_at=AT,
)
build = BuildRow(
    id=17,
    local_id=4,
    project_id=5,
    project_name="Shop",
    ref="refs/heads/main",
    sha="4f2c8d1e0b7a69538f4e2d1c0b9a88776655443f",
    initiator_id=7,
    queued_at=AT,
)


def text_of(request: OutgoingRequested, build: BuildRow) -> str:
    return str(json.loads(compose_chat_message(request, build, URL))["text"])


def test_a_webhook_is_a_cloud_event() -> None:
    event = json.loads(compose_cloud_event(request, build, "ivan", URL))
    data = event.pop("data")
    assert event == {
        "specversion": "1.0",
        "id": "e",
        "source": "https://ci.test/api/developer/projects/5",
        "type": "headrace.build.finished",
        "subject": "build-17",
        "time": "2026-11-22T10:00:00.000Z",
        "datacontenttype": "application/json",
    }
    assert (data["state"], data["fixed"], data["build_number"], data["ref"]) == ("failure", False, 4, build.ref)
    assert data["initiator"] == {"id": 7, "name": "ivan"}
    assert data["url"] == "https://ci.test/ui/builds/17"


def test_the_signature_is_that_of_standard_webhooks() -> None:
    headers = sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330")


def test_a_secret_without_the_prefix_signs_with_its_bytes() -> None:
    plain = sign("0123456789abcdef", "m", 1, b"{}")
    assert plain == sign("whsec_MDEyMzQ1Njc4OWFiY2RlZg==", "m", 1, b"{}")
    assert plain != sign("0123456789abcdeg", "m", 1, b"{}")


def test_a_chat_message_has_project_build_result_and_link() -> None:
    link = "<https://ci.test/ui/builds/17|build 17>"
    assert text_of(request, build) == f"Shop: {link} failed (main, 4f2c8d1e)"
    fixed = request.replace(state="success", is_fix=True)
    assert text_of(fixed, build) == f"Shop: {link} succeeded again (main, 4f2c8d1e)"


def test_a_chat_message_without_a_commit_has_no_brackets() -> None:
    unknown = build.replace(ref=None, sha=None)
    assert text_of(request, unknown).endswith("failed")


def test_names_in_a_chat_message_are_no_links_and_mention_nobody() -> None:
    text = text_of(request, build.replace(project_name="<!here> &\n@all"))
    assert text.startswith("&lt;!here&gt; &amp; @\u200ball: ")
