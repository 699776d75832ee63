"""The contract of labels: a sample resource, which has the form of each resource of the product."""

from typing import Annotated

from pydantic import Field

from contracts.errors import ErrorCode
from contracts.messages import Command, Event, Message, Query, ReadModelRow

LABEL_CODES = {
    "LABEL_NOT_FOUND": ErrorCode(404, "Label not found."),
    "LABEL_NAME_TAKEN": ErrorCode(422, "Another label has this name."),
}
"""In the product, codes are a part of `contracts.errors.CODES`; the test adds these while it runs."""

Name = Annotated[str, Field(min_length=1, max_length=255)]


class CreateLabel(Command):
    name: Name


class RenameLabel(Command):
    label_id: int
    name: Name


class DeleteLabel(Command):
    label_id: int


class LabelCreated(Event):
    label_id: int
    name: str


class LabelRenamed(Event):
    label_id: int
    before: str
    name: str


class LabelDeleted(Event):
    label_id: int
    name: str


LabelEvent = LabelCreated | LabelRenamed | LabelDeleted


class LabelRow(ReadModelRow):
    id: int = 0
    name: str = ""


class GetLabel(Query):
    """Get a label. Answer: LabelRow. Errors: LABEL_NOT_FOUND."""

    label_id: int


class ListLabels(Query):
    """List all labels by id. Answer: Labels."""


class Labels(Message):
    labels: tuple[LabelRow, ...]
