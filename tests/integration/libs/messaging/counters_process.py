"""One replica of the sample service in its own process."""

import os
from dataclasses import replace

from libs.service.service_host import run
from libs.settings import Settings
from tests.support.counters.app import create_service

if __name__ == "__main__":
    # no periodic tasks: if killed in a transaction, they leave locks until the database aborts the transaction
    run(replace(create_service(), periodic_tasks=()), Settings.from_environment(os.environ))
