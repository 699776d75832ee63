"""One replica of the toy service in a process of its own: `python -m tests.integration.libs.messaging.toy_process`."""

import os
from dataclasses import replace

from libs.service.service_host import run
from libs.settings import Settings
from tests.support.counters.app import create_service

if __name__ == "__main__":
    # no ticker: who is killed within a transaction leaves locks behind until the database gives it up
    run(replace(create_service(), periodic_tasks=()), Settings.from_environment(os.environ))
