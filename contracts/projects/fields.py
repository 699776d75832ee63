"""Field types of the projects messages, with their limits."""

from typing import Annotated

from pydantic import Field

MAX_SECRET_LENGTH = 64 * 1024
Name = Annotated[str, Field(max_length=255)]
UrlOrPath = Annotated[str, Field(max_length=2048)]
Prose = Annotated[str, Field(max_length=10_000)]
Value = Annotated[str, Field(max_length=MAX_SECRET_LENGTH)]
Ids = Annotated[tuple[int, ...], Field(max_length=1000)]
Names = Annotated[tuple[Name, ...], Field(max_length=100)]
