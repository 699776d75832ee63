"""Messages about webhooks: deliveries, and what they start and cancel."""

from contracts.projects.webhooks.delivery import *
from contracts.projects.webhooks.pull_request import *
from contracts.projects.webhooks.triggers import *
