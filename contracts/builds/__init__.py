"""Messages of the builds service: builds, jobs, logs and artifacts."""

from contracts.builds.artifact import *
from contracts.builds.build import *
from contracts.builds.build_events import *
from contracts.builds.build_queries import *
from contracts.builds.concurrency_group import *
from contracts.builds.console import *
from contracts.builds.job import *
from contracts.builds.job_events import *
from contracts.builds.job_queries import *
from contracts.builds.log import *
from contracts.builds.plan import *
from contracts.builds.requirements import *
from contracts.builds.runner_protocol import *
