"""The services of Headrace, and functions that load their declarations.

Importing this module imports no service, which saves memory in the supervisor, the agent and the command line.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from libs.service.declaration import Service

SERVICES = ("identity", "projects", "builds", "runners", "notifications")
PUBLIC_SERVICES = ("builds", "runners")  # their events are readable with the login `consumer`


def load_service(name: str) -> "Service":
    service: Service = import_module(f"services.{name}.app").service
    return service


def load_services() -> "list[Service]":
    return [load_service(name) for name in SERVICES]
