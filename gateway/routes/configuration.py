"""Configuration."""

from contracts.notifications import SendTestMail
from gateway.dialects import free_commit as fc
from gateway.dialects import free_commit_actions as actions
from gateway.routing import command, own

CONFIGURATION = (
    own("GET", "/admin/config/env", actions.config_env, write=fc.ENVIRONMENT),
    command("POST", "/admin/config/mail/test/{recipient}", SendTestMail, errors=("MAIL_RECIPIENT_INVALID",)),
)
