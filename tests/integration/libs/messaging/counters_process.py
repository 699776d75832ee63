"""One replica of the counter service of the tests, in its own process."""

import os
from dataclasses import replace

from libs.service.service_host import run
from libs.settings import Settings
from tests.support.counters.app import create_service

if __name__ == "__main__":
    # Without periodic tasks: if the process is killed during their transaction, its locks remain for a while.
    run(replace(create_service(), periodic_tasks=()), Settings.from_environment(os.environ))
