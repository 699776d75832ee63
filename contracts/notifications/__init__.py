"""Messages of the notifications service: mails, requests to other servers, and the receivers of a project."""

from contracts.notifications.mail_rules import *
from contracts.notifications.mails import *
from contracts.notifications.outgoing import *
from contracts.notifications.receivers import *
