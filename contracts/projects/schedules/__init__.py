"""Messages about schedules, which launch builds of a project at the times of a cron expression."""

from contracts.projects.schedules.schedule import *
from contracts.projects.schedules.schedule_events import *
