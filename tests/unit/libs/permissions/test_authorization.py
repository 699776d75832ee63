"""Every message of the services that own data of projects has an authorization rule."""

import pytest

from libs.permissions.authorization import Authorization
from libs.service.declaration import Service
from services.builds.app import service as builds
from services.projects.app import service as projects
from services.runners.app import service as runners


@pytest.mark.parametrize("service", [builds, projects, runners], ids=lambda service: service.name)
def test_every_message_of_the_service_has_an_access_rule(service: Service) -> None:
    assert isinstance(service.authorize, Authorization)
    assert {message.wire_name for message in service.authorize.rules} == {
        message.wire_name for message in service.messages
    }
