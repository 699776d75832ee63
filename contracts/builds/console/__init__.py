"""Queries of the web console and other clients of Headrace's own routes, and their answers."""

from contracts.builds.console.build_lists import *
from contracts.builds.console.build_overview import *
from contracts.builds.console.dry_plan import *
from contracts.builds.console.fleet import *
from contracts.builds.console.log_lines import *
from contracts.builds.console.reported_tests import *
from contracts.builds.console.statistics import *
