"""The worker that sends a mail and retries it after a failure."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from contracts.builds import GetProjectAccess, ProjectAccessView
from contracts.errors import RequestRejected
from contracts.identity import GetUser, UserView
from contracts.notifications import MailEvents, NotificationRequested, NotificationRow, NotificationStatus
from contracts.projects import ProjectAction
from libs.eventstore.decider import Actor, RecordedEvent
from libs.permissions.rule import allows
from libs.security.erased_keys import KeyErased
from libs.service.declaration import Context
from libs.settings import MailSettings
from services.notifications.attempts import DeliveryFailed, DeliverySkipped, deliver
from services.notifications.domain.internal_commands import (
    AbandonNotification,
    MarkNotificationSent,
    RecordNotificationFailure,
    SkipNotification,
)
from services.notifications.domain.mail_rule import mail_rule_stream
from services.notifications.mail import compose, is_address, send
from services.notifications.mail_rules.mail_rule_projection import MailRuleRow


@dataclass(frozen=True)
class MailRecord:
    """Records the outcome of a mail. See DeliveryRecord."""

    ctx: Context
    notification_id: str

    async def fail(self, attempt: int, failure: DeliveryFailed) -> None:
        command = RecordNotificationFailure(self.notification_id, attempt, failure.reason)
        await self.ctx.send(command, step=str(attempt))

    async def end(self, status: NotificationStatus, reason: str, _response_code: int | None, /) -> None:
        match status:
            case NotificationStatus.SENT:
                await self.ctx.send(MarkNotificationSent(self.notification_id))
            case NotificationStatus.SKIPPED:
                await self.ctx.send(SkipNotification(self.notification_id, reason))
            case _:
                await self.ctx.send(AbandonNotification(self.notification_id, reason))


async def deliver_mail(
    retry_delays: Sequence[float], ctx: Context, recorded: RecordedEvent[NotificationRequested]
) -> None:
    """Send the mail, unless it was sent, skipped or abandoned before. Raises RetryLater to try again later.

    A mail that is sent again after a crash has the same Message-ID.
    """
    row = await ctx.read_model(NotificationRow).get(recorded.stream)
    if row is None or row.status is not NotificationStatus.REQUESTED:
        return
    record = MailRecord(ctx, recorded.event.notification_id)
    await deliver(partial(send_mail, ctx, recorded), record, row.attempts, retry_delays)


async def send_mail(ctx: Context, recorded: RecordedEvent[NotificationRequested]) -> None:
    """Send the mail. Raises DeliverySkipped or MailFailed, or RequestRejected during an outage of another service."""
    request, mail = recorded.event, ctx.settings.mail
    if await is_unwanted(ctx, request):
        raise DeliverySkipped("the user wants no mails about this project")
    if request.recipient:
        recipient = await decrypt_recipient(ctx, recorded)
    else:
        recipient = await fetch_address(ctx, request.user_id, request.project_id)
    reason = skip_reason(mail, recipient)
    if recipient is None or reason:
        raise DeliverySkipped(reason)
    text = f"{request.text}\n\n{ctx.settings.url}{request.link}\n" if request.link else f"{request.text}\n"
    message = compose(mail.sender, recipient, request.title, text, mail_id=request.notification_id, at=recorded.at)
    await send(mail, message, ca_file=ctx.settings.ca_file)


async def is_unwanted(ctx: Context, request: NotificationRequested) -> bool:
    """Return whether the mail rule of the user excludes mails about the project."""
    if request.project_id is None or request.user_id is None:
        return False
    rule = await ctx.read_model(MailRuleRow).get(mail_rule_stream(request.project_id, request.user_id))
    return rule is not None and rule.events is MailEvents.NEVER


def skip_reason(mail: MailSettings, recipient: str | None) -> str:
    """Return why the mail is not sent, or an empty text. `recipient`: the address; None: no address was found."""
    if not mail.host:
        return "no mail server is configured"
    if not recipient:
        return "the user does not exist, has no e-mail address, or may no longer see the project"
    return "" if is_address(recipient) else "the user's e-mail address is not valid"


async def decrypt_recipient(ctx: Context, recorded: RecordedEvent[NotificationRequested]) -> str | None:
    """Return the recipient stored in the event, or None if its key was deleted."""
    try:
        return await ctx.vault.decrypt(recorded.stream, recorded.event.recipient or "")
    except KeyErased:
        return None


async def fetch_address(ctx: Context, user_id: int | None, project_id: int | None) -> str | None:
    """Return the e-mail address of a user, or None if the user or the address does not exist.

    Also return None if the user may not see the project. An error of another service is raised and does not count as a
    failed attempt: the event is redelivered.
    """
    try:
        user = await ctx.query(GetUser(user_id=user_id), UserView)
    except RequestRejected as rejected:
        if rejected.code == "DEVELOPER_NOT_FOUND":
            return None
        raise
    if project_id is not None and not await may_read(ctx, Actor(user.id, user.username, user.roles), project_id):
        return None
    return user.email


async def may_read(ctx: Context, user: Actor, project_id: int) -> bool:
    try:
        access = await ctx.query(GetProjectAccess(project_id=project_id), ProjectAccessView)
    except RequestRejected as rejected:
        if rejected.code == "PROJECT_NOT_FOUND":
            return user.is_admin
        raise
    companies = [access.company_id] if access.company_id and user.id in access.company_members_id else []
    return allows(access, user, ProjectAction.READ, companies)
