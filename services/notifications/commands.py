"""Command preparation for the test mail."""

from uuid import uuid5

from contracts.errors import RequestRejected
from contracts.notifications import SendTestMail
from libs.service.declaration import Context
from services.notifications.domain.internal_commands import RequestNotification
from services.notifications.mail import is_address
from services.notifications.policies import NOTIFICATION_NAMESPACE


async def prepare_test_mail(ctx: Context, command: SendTestMail) -> RequestNotification:
    """Compose the test mail. Raises RequestRejected with MAIL_RECIPIENT_INVALID."""
    if not is_address(command.recipient):
        raise RequestRejected("MAIL_RECIPIENT_INVALID")
    return RequestNotification(
        notification_id=str(uuid5(NOTIFICATION_NAMESPACE, ctx.metadata.command_id)),
        kind="test",
        recipient=command.recipient,
        title="Test mail from Headrace",
        text="This is a test of the mail settings. They work.",
    )
