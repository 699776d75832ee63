"""Configuration."""

from contracts.notifications import SendTestMail
from gateway.routing import command

CONFIGURATION = (
    command("POST", "/admin/config/mail/test/{recipient}", SendTestMail, errors=("MAIL_RECIPIENT_INVALID",)),
)
