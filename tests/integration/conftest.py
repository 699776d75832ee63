"""Fixture of all integration tests: fast password hashes."""

from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher

from libs.security import passwords


@pytest.fixture(scope="session", autouse=True)
def _fast_password_hashes() -> Iterator[None]:
    """Hash passwords at the lowest cost. At the production cost, logins would take a tenth of the tests' CPU time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        yield
