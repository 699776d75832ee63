"""What crosses a wire about runners: registration, settings, presence, and the tokens that make new ones."""

from contracts.runners.calls import *
from contracts.runners.fields import *
from contracts.runners.registration import *
from contracts.runners.runner import *
