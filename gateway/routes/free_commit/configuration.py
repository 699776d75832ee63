"""Routes of the server's configuration."""

from contracts.notifications import SendTestMail
from gateway.adapters.free_commit import handlers as actions
from gateway.adapters.free_commit import models as fc
from gateway.framework.route_table import command, own

CONFIGURATION = (
    own("GET", "/admin/config/env", actions.get_config_env, write=fc.ENVIRONMENT),
    command("POST", "/admin/config/mail/test/{recipient}", SendTestMail, errors=("MAIL_RECIPIENT_INVALID",)),
)
