"""The mail server of all end-to-end tests. Each folder has a stack of its own, which stops after the folder's tests.

The tests in shared_stack leave their stack as they found it.
"""

from collections.abc import Iterator

import pytest

from tests.support.external.mail_server import MailServer, running_mail_server


@pytest.fixture(scope="session")
def mail_server() -> Iterator[MailServer]:
    with running_mail_server() as office:
        yield office
