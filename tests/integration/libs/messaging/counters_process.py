"""One replica of the sample service in its own process."""

import os
from dataclasses import replace

from libs.service.service_host import run
from libs.settings import Settings
from tests.support.counters.app import create_service

if __name__ == "__main__":
    # no periodic tasks: a process killed in a transaction leaves locks until the database aborts it
    run(replace(create_service(), periodic_tasks=()), Settings.from_environment(os.environ))
