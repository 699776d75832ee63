"""A replica of a service whose clock is skewed. Arguments: <service> <seconds>."""

import os
import sys
from datetime import timedelta
from importlib import import_module

from libs.clock import Clock, now
from libs.service.service_host import run
from libs.settings import Settings

if __name__ == "__main__":
    name, seconds = sys.argv[1], float(sys.argv[2])
    skew = timedelta(seconds=seconds)
    service = import_module(f"services.{name}.app").service
    run(service, Settings.from_environment(os.environ), Clock(lambda: now() + skew))
