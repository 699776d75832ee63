"""Runners, as GitFlic has them."""

from contracts.runners import GetRegistrationInfo
from gateway.dialects.gitflic import registration
from gateway.routes.gitflic import ask

RUNNERS = (ask("/admin/runners/registration-info", GetRegistrationInfo, write=registration.REGISTRATION_INFO),)
