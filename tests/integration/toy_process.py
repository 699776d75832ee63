"""One replica of the toy service in a process of its own: `python -m tests.integration.toy_process`."""

import os

from libs.hosting import run
from libs.settings import Settings
from tests.toy.app import declare

if __name__ == "__main__":
    run(declare(), Settings.from_environment(os.environ))
