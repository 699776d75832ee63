"""Builds, their jobs and their logs: what may be wished, asked and what happened."""

from contracts.builds.artifact import *
from contracts.builds.build import *
from contracts.builds.demand import *
from contracts.builds.job import *
from contracts.builds.lane import *
from contracts.builds.log import *
from contracts.builds.planned import *
from contracts.builds.running import *
from contracts.builds.statistics import *
