"""Messages of the projects service: projects, secrets, credentials, executors, schedules and webhook deliveries."""

from contracts.projects.credential import *
from contracts.projects.executor import *
from contracts.projects.fields import *
from contracts.projects.forge import *
from contracts.projects.membership import *
from contracts.projects.permissions import *
from contracts.projects.project import *
from contracts.projects.project_events import *
from contracts.projects.project_queries import *
from contracts.projects.retention import *
from contracts.projects.schedules import *
from contracts.projects.secret import *
from contracts.projects.webhooks import *
