"""The service of the notifications: a failed build's mail to who started it, and the test mail."""

from collections.abc import Sequence
from functools import partial
from uuid import uuid5

from contracts.errors import RequestRejected
from contracts.identity import GetUser
from contracts.messages import CommandReply, Page
from contracts.notifications import (
    AbandonNotification,
    ListNotifications,
    MarkNotificationSent,
    NotificationRequested,
    NotificationRow,
    NotificationStatus,
    RecordNotificationFailure,
    RequestNotification,
    SendTestMail,
    SkipNotification,
)
from libs.eventstore.decider import RecordedEvent
from libs.security.erased_keys import KeyErased
from libs.service.declaration import Context, RetryLater, Service, Worker
from libs.settings import MailSettings
from services.notifications.mail import MailFailed, compose, is_address, send
from services.notifications.metrics import METRICS
from services.notifications.policies import NOTIFICATION_NAMESPACE, on_build_finished
from services.notifications.projections import notification_category

RETRY_DELAYS_SECONDS = (10.0, 60.0, 300.0, 1800.0)
"""Seconds between the tries; after the last one the mail is given up."""


async def send_test_mail(ctx: Context, command: SendTestMail) -> CommandReply:
    if not is_address(command.recipient):
        raise RequestRejected("MAIL_RECIPIENT_INVALID")
    return await ctx.send(
        RequestNotification(
            notification_id=str(uuid5(NOTIFICATION_NAMESPACE, ctx.metadata.command_id)),
            kind="test",
            recipient=command.recipient,
            title="Test mail from Headrace",
            text="This mail was sent to try the mail settings. They work.",
        )
    )


async def deliver_mail(
    retry_delays: Sequence[float], ctx: Context, recorded: RecordedEvent[NotificationRequested]
) -> None:
    """Send it, unless that was done or given up before: the event comes again until this returns."""
    request = recorded.event
    row: NotificationRow | None = await ctx.read_model("notification").get(recorded.stream)
    if row is None or row.status is not NotificationStatus.REQUESTED:
        return
    try:
        await try_send(ctx, recorded)
    except MailFailed as failure:
        tries = row.attempts + 1
        await ctx.send(
            RecordNotificationFailure(notification_id=request.notification_id, attempt=tries, reason=failure.reason),
            step=str(tries),
        )
        if not failure.is_permanent and tries <= len(retry_delays):
            raise RetryLater(retry_delays[tries - 1]) from failure
        await ctx.send(AbandonNotification(notification_id=request.notification_id, reason=failure.reason))


async def try_send(ctx: Context, recorded: RecordedEvent[NotificationRequested]) -> None:
    """Raises MailFailed. A crash between the sending and its record means a second mail with the same Message-ID."""
    request, mail = recorded.event, ctx.settings.mail
    recipient = await (decrypt_recipient(ctx, recorded) if request.recipient else fetch_address(ctx, request.user_id))
    reason = skip_reason(mail, recipient)
    if recipient is None or reason:
        await ctx.send(SkipNotification(notification_id=request.notification_id, reason=reason))
        return
    text = f"{request.text}\n\n{ctx.settings.url}{request.link}\n" if request.link else f"{request.text}\n"
    message = compose(mail.sender, recipient, request.title, text, mail_id=request.notification_id, at=recorded.at)
    await send(mail, message, ca_file=ctx.settings.ca_file)
    await ctx.send(MarkNotificationSent(notification_id=request.notification_id))


def skip_reason(mail: MailSettings, recipient: str | None) -> str:
    """Why no try would ever help; empty if nothing stands in the way."""
    if not mail.host:
        return "no mail server is configured"
    if not recipient:
        return "the user is gone or has no e-mail address"
    return "" if is_address(recipient) else "the user's e-mail address is not valid"


async def decrypt_recipient(ctx: Context, recorded: RecordedEvent[NotificationRequested]) -> str | None:
    """Personal fields come sealed; None after their key was erased."""
    try:
        return await ctx.vault.decrypt(recorded.stream, recorded.event.recipient or "")
    except KeyErased:
        return None


async def fetch_address(ctx: Context, user_id: int | None) -> str | None:
    """None also for a user who is gone. A silent identity service is no failed attempt: the event comes again."""
    try:
        user = await ctx.query(GetUser(user_id=user_id))
    except RequestRejected as refused:
        if refused.code == "DEVELOPER_NOT_FOUND":
            return None
        raise
    return user.get("email")


async def list_notifications(ctx: Context, query: ListNotifications) -> Page:
    rows = ctx.read_model("notification")
    skip = (query.page - 1) * query.per_page
    shown = await rows.find({}, [("requested_at", -1)], skip=skip, limit=query.per_page)
    return Page(rows=tuple(row.model_dump(mode="json") for row in shown), total=await rows.count({}))


def create_service(retry_delays: Sequence[float] = RETRY_DELAYS_SECONDS) -> Service:
    return Service(
        "notifications",
        categories=(notification_category,),
        handlers={SendTestMail: send_test_mail, ListNotifications: list_notifications},
        outgoing=(GetUser,),
        policies={"builds": on_build_finished},
        metrics=METRICS,
        workers=(Worker("mailer", "notifications", (NotificationRequested,), partial(deliver_mail, retry_delays)),),
    )


service = create_service()
