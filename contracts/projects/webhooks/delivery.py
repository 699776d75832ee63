"""Messages about webhook deliveries from forges: the request, its result, and the payload for the build."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Base64Bytes, Field

from contracts.messages import Command, Event, Message, Query, Sensitive
from contracts.paging import FilteredPageRequest
from contracts.projects.webhooks.pull_request import PullRequest

Provider = Literal["github", "gitlab"]

IGNORE_REASONS: dict[str, str] = {
    "WEBHOOK_SENDER_UNKNOWN": "No user of this server has the sender's name at the forge.",
    "WEBHOOK_SENDER_DISABLED": "The sender's user is disabled.",
    "WEBHOOK_SENDER_NOT_ALLOWED": "The sender's user may not launch builds of the project.",
    "WEBHOOK_EVENT_IGNORED": "Only pushes start builds, and pull or merge requests if the project builds them.",
    "WEBHOOK_REF_IGNORED": "The push is to a tag, which the project does not build, or has no ref.",
    "WEBHOOK_BRANCH_DELETED": "The push deleted the branch or tag.",
    "WEBHOOK_BRANCH_IGNORED": "The push is to another branch than the project's, or the pull request into another one.",
    "WEBHOOK_PULL_REQUEST_UNCHANGED": "The pull or merge request has no new commits.",
    "WEBHOOK_REPOSITORY_MISMATCH": "The pull or merge request is not of the project's repository.",
    "WEBHOOK_FORK_IGNORED": "The project does not build pull or merge requests of forks.",
    "WEBHOOK_SKIP_REQUESTED": "The commit message contains [skip ci] or [ci skip], or the push has the option ci.skip.",
}
"""Codes of valid deliveries that start no build, with their meaning. They are not errors: the HTTP status is 200."""


APPROVAL_REQUIRED = "WEBHOOK_APPROVAL_REQUIRED"
APPROVAL_REASON = "The commit comes from a fork. A maintainer of the project has to approve its build."


class DeliveryDecision(StrEnum):
    ACCEPTED = "ACCEPTED"  # a build is queued
    IGNORED = "IGNORED"  # valid, but starts no build
    WAITING = "WAITING"  # a build is queued when a maintainer approves it
    REFUSED = "REFUSED"  # not from the forge, or invalid


class ReceiveWebhook(Command, wire_name="ReceiveDelivery"):
    """Process a webhook request. A repeated delivery gets the same answer. Answer: DeliveryView.

    The service verifies the signature, although the gateway has verified it. Errors: PROJECT_NOT_FOUND,
    WEBHOOK_PROVIDER_NOT_SUPPORTED, WEBHOOK_SIGNATURE_INVALID, WEBHOOK_PAYLOAD_INVALID, and IDEMPOTENCY_KEY_REUSED if
    an earlier delivery with the same `forge_id` had another body.
    """

    project_id: int
    provider: Provider | None  # None: an unknown forge
    event: str  # the forge's event name
    forge_id: str  # the forge's delivery id; empty: none
    proof: Sensitive  # GitHub: signature; GitLab: token
    content_type: str
    body: Base64Bytes = Field(repr=False)


class GetDeliveryKey(Query):
    """Get the signature key of a project, with which a gateway verifies webhooks. Answer: DeliveryKey.

    Errors: PROJECT_NOT_FOUND, and REQUEST_INVALID for an invalid key.
    """

    project_id: int
    public_key: str  # X25519 key in base64 for which the answer is encrypted


class DeliveryKey(Message):
    """The encrypted signature key of a project."""

    encrypted: str  # encrypted with HPKE, in base64


class RejectWebhook(Command, wire_name="RefuseDelivery"):
    """Count a webhook request that a gateway has rejected.

    The reply is a rejection with `code`, or with PROJECT_NOT_FOUND.
    """

    project_id: int
    provider: Provider | None
    event: str
    size: int  # bytes of the body
    code: Literal["WEBHOOK_PROVIDER_NOT_SUPPORTED", "WEBHOOK_SIGNATURE_INVALID"]


class Sender(Message):
    """The user with the sender's name at the forge."""

    user_id: int
    enabled: bool
    allowed: bool  # whether the user may launch builds of the project


class Push(Message):
    """A push, as reported by the forge. Missing or invalid fields are empty."""

    ref: str  # refs/heads/... or refs/tags/...
    sha: str  # commit of the ref after the push; empty if the push deleted the ref
    deleted: bool
    before: str = ""  # commit of the ref before the push; empty for a new ref
    skip: bool = False  # whether the commit message or an option of the push says that the push is not to be built


class DeliveryAccepted(Event):
    """A delivery launches a build, whose executor_id is the delivery's id."""

    delivery_id: str
    project_id: int
    provider: Provider
    event: str
    forge_id: str
    sealed_sender: str
    user_id: int
    ref: str
    sha: str
    before_sha: str = ""  # commit of the ref before the push
    size: int
    digest: str
    pull_request: PullRequest | None = None  # None: a push


class DeliveryHeld(Event):
    """A delivery about a commit of a fork waits for the approval of a maintainer."""

    delivery_id: str
    project_id: int
    provider: Provider
    event: str
    forge_id: str
    sealed_sender: str
    user_id: int | None = None
    ref: str
    sha: str
    size: int
    digest: str
    pull_request: PullRequest  # pull request of the fork


class DeliveryApproved(Event):
    """A maintainer approved a delivery. It launches a build, whose executor_id is the delivery's id."""

    delivery_id: str
    project_id: int
    ref: str
    sha: str
    pull_request: PullRequest  # pull request of the fork


class DeliveryIgnored(Event):
    """A valid delivery launches no build. `code` is the reason."""

    delivery_id: str
    project_id: int
    provider: Provider
    event: str
    forge_id: str
    sealed_sender: str
    user_id: int | None = None
    ref: str | None = None
    sha: str | None = None
    size: int
    digest: str
    code: str


class DeliveryRejected(Event, wire_name="DeliveryRefused"):
    """A delivery was rejected. Releases up to 0.2.0 recorded this event; later ones do not, but must still read it."""

    delivery_id: str
    project_id: int
    provider: Provider | None = None
    event: str
    size: int
    code: str
    unrecorded: int = 0  # earlier rejected deliveries that were counted but not recorded, because there were too many


class DeliveryView(Message):
    """A delivery, without its signature or token."""

    id: str
    project_id: int
    provider: Provider | None
    event: str
    forge_id: str | None
    sender: str | None  # name of the sender at the forge
    user_id: int | None
    ref: str | None
    sha: str | None
    decision: DeliveryDecision
    code: str | None  # why the delivery starts no build; None: accepted
    reason: str  # the decision as a sentence
    executor_id: str | None  # executor_id of the launched build; None: no build
    body_size: int  # bytes
    unrecorded: int  # earlier rejected deliveries that were counted but not stored
    refused_total: int | None = None  # rejected deliveries of the project so far, if this one was rejected
    pull_request: PullRequest | None = None  # None: a push, or another event
    received_at: datetime


class ApproveDelivery(Command):
    """Launch the build of a delivery that waits for approval. Its jobs get no secrets. Answer: DeliveryView.

    Errors: PROJECT_NOT_FOUND, DELIVERY_NOT_FOUND, and DELIVERY_STATUS if the delivery does not wait for approval, or
    the project does not build pull requests of forks.
    """

    project_id: int
    delivery_id: str


class GetDelivery(Query):
    """Get a delivery. Answer: DeliveryView. Errors: DELIVERY_NOT_FOUND, also if its project was deleted."""

    delivery_id: str


class ListDeliveries(FilteredPageRequest, wire_name="PageDeliveries"):
    """List the deliveries of a project, newest first. Answer: Page of DeliveryView. Errors: PROJECT_NOT_FOUND.

    Filter columns: provider, event, decision, code, ref, sha.
    """

    project_id: int


class GetWebhookPayload(Query, wire_name="GetRequestBody"):
    """Get the JSON payload of an accepted delivery. Answer: bytes.

    The answer is empty after the build is finished or the project is deleted, and for deliveries that were not accepted
    or are about a fork.
    """

    delivery_id: str


DeliveryEvent = DeliveryAccepted | DeliveryIgnored | DeliveryRejected | DeliveryHeld | DeliveryApproved
