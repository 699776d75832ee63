"""Messages of the runners service: registration, settings and heartbeats of runners, and registration tokens."""

from contracts.runners.calls import *
from contracts.runners.fields import *
from contracts.runners.registration import *
from contracts.runners.runner import *
