"""The services of Headrace, and access to their declarations.

The module imports no service: the supervisor, the agent and the command line would keep the services' libraries in
memory.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from libs.service.declaration import Service

SERVICES = ("identity", "projects", "builds", "runners", "notifications")
PUBLIC_SERVICES = ("builds", "runners")  # services whose events the login `consumer` may read


def load_service(name: str) -> "Service":
    """Import the declaration of a service."""
    service: Service = import_module(f"services.{name}.app").service
    return service


def load_services() -> "list[Service]":
    """Import the declarations of all services."""
    return [load_service(name) for name in SERVICES]
