"""Field types of the identity messages, with their limits."""

from typing import Annotated

from pydantic import Field

ROLES = ("ROLE_ADMIN", "ROLE_DEVELOPER")
MAX_PASSWORD_LENGTH = 1024  # characters; limits the cost of hashing
Name = Annotated[str, Field(max_length=255)]
Ids = Annotated[tuple[int, ...], Field(max_length=1000)]
Names = Annotated[tuple[Name, ...], Field(max_length=100)]
