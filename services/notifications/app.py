"""The service of the notifications: a failed build's mail to who started it, and the test mail."""

from collections.abc import Sequence
from functools import partial
from uuid import uuid5

from contracts.errors import Refused
from contracts.identity import GetUser
from contracts.messages import Done, Page
from contracts.notifications import (
    GiveUpNotification,
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
from libs.deciding import Recorded
from libs.security.erased import Erased
from libs.service import Context, Service, TryLater, Worker
from libs.settings import MailSettings
from services.notifications.mail import MailFailed, is_address, send, write
from services.notifications.measures import MEASURES
from services.notifications.policies import NAMESPACE, on_build
from services.notifications.views import notifications

DELAYS = (10.0, 60.0, 300.0, 1800.0)
"""Seconds between the tries; after the last one the mail is given up."""


async def send_test_mail(ctx: Context, command: SendTestMail) -> Done:
    if not is_address(command.recipient):
        raise Refused("MAIL_RECIPIENT_INVALID")
    return await ctx.tell(
        RequestNotification(
            notification_id=str(uuid5(NAMESPACE, ctx.cause.command_id)),
            kind="test",
            recipient=command.recipient,
            title="Test mail from Headrace",
            text="This mail was sent to try the mail settings. They work.",
        )
    )


async def deliver(delays: Sequence[float], ctx: Context, recorded: Recorded[NotificationRequested]) -> None:
    """Send it, unless that was done or given up before: the event comes again until this returns."""
    request = recorded.event
    row: NotificationRow | None = await ctx.rows("notification").get(recorded.stream)
    if row is None or row.status is not NotificationStatus.REQUESTED:
        return
    try:
        await attempt(ctx, recorded)
    except MailFailed as failure:
        tries = row.attempts + 1
        await ctx.tell(
            RecordNotificationFailure(notification_id=request.notification_id, attempt=tries, reason=failure.reason),
            step=str(tries),
        )
        if not failure.final and tries <= len(delays):
            raise TryLater(delays[tries - 1]) from failure
        await ctx.tell(GiveUpNotification(notification_id=request.notification_id, reason=failure.reason))


async def attempt(ctx: Context, recorded: Recorded[NotificationRequested]) -> None:
    """Raises MailFailed. A crash between the sending and its record means a second mail with the same Message-ID."""
    request, mail = recorded.event, ctx.settings.mail
    recipient = await (opened(ctx, recorded) if request.recipient else address(ctx, request.user_id))
    reason = obstacle(mail, recipient)
    if recipient is None or reason:
        await ctx.tell(SkipNotification(notification_id=request.notification_id, reason=reason))
        return
    text = f"{request.text}\n\n{ctx.settings.url}{request.link}\n" if request.link else f"{request.text}\n"
    message = write(mail.sender, recipient, request.title, text, mail_id=request.notification_id, at=recorded.at)
    await send(mail, message, ca_file=ctx.settings.ca_file)
    await ctx.tell(MarkNotificationSent(notification_id=request.notification_id))


def obstacle(mail: MailSettings, recipient: str | None) -> str:
    """Why no try would ever help; empty if nothing stands in the way."""
    if not mail.host:
        return "no mail server is configured"
    if not recipient:
        return "the user is gone or has no e-mail address"
    return "" if is_address(recipient) else "the user's e-mail address is not valid"


async def opened(ctx: Context, recorded: Recorded[NotificationRequested]) -> str | None:
    """Personal fields come sealed; None after their key was erased."""
    try:
        return await ctx.vault.open(recorded.stream, recorded.event.recipient or "")
    except Erased:
        return None


async def address(ctx: Context, user_id: int | None) -> str | None:
    """None also for a user who is gone. A silent identity service is no failed attempt: the event comes again."""
    try:
        user = await ctx.ask(GetUser(user_id=user_id))
    except Refused as refused:
        if refused.code == "DEVELOPER_NOT_FOUND":
            return None
        raise
    return user.get("email")


async def list_notifications(ctx: Context, query: ListNotifications) -> Page:
    rows = ctx.rows("notification")
    skip = (query.page - 1) * query.per_page
    shown = await rows.find({}, [("requested_at", -1)], skip=skip, limit=query.per_page)
    return Page(rows=tuple(row.model_dump(mode="json") for row in shown), total=await rows.count({}))


def declare(delays: Sequence[float] = DELAYS) -> Service:
    return Service(
        "notifications",
        categories=(notifications,),
        answers={SendTestMail: send_test_mail, ListNotifications: list_notifications},
        calls=(GetUser,),
        policies={"builds": on_build},
        measures=MEASURES,
        workers=(Worker("mailer", "notifications", (NotificationRequested,), partial(deliver, delays)),),
    )


service = declare()
