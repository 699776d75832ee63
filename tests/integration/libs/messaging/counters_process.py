"""One replica of the tests' counter service, run as a process."""

import os
from dataclasses import replace

from libs.service.service_host import run
from libs.settings import Settings
from tests.support.counters.app import create_service

if __name__ == "__main__":
    # No periodic tasks: a process killed during their transactions would leave locks behind for a while.
    run(replace(create_service(), periodic_tasks=()), Settings.from_environment(os.environ))
