"""The mail server of all end-to-end tests.

The tests of each folder share a stack, which stops after the last of them; those in own_stack start stacks of their
own. A test in shared_stack must leave the stack usable for the next test.
"""

from collections.abc import Iterator

import pytest

from tests.support.external.mail_server import MailServer, running_mail_server


@pytest.fixture(scope="session")
def mail_server() -> Iterator[MailServer]:
    with running_mail_server() as office:
        yield office
