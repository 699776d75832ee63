"""One replica of the toy service in a process of its own: `python -m tests.integration.toy_process`."""

import os
from dataclasses import replace

from libs.hosting import run
from libs.settings import Settings
from tests.toy.app import declare

if __name__ == "__main__":
    # no ticker: who is killed within a transaction leaves locks behind until the database gives it up
    run(replace(declare(), tickers=()), Settings.from_environment(os.environ))
