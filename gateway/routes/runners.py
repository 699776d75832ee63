"""Runners, as GitFlic has them."""

from contracts.runners import GetRegistrationInfo
from gateway.dialects import gitflic
from gateway.routing import query

RUNNERS = (
    query("/admin/runners/registration-info", GetRegistrationInfo, write=gitflic.REGISTRATION_INFO, stranger=403),
)
