"""Executors: named sets of variables."""

from pydantic import Field

from contracts.messages import Command, Event, Message, Query
from contracts.projects.fields import Name, Value


class CreateExecutor(Command):
    name: Name | None = None
    driver: Name | None = None
    # filled in
    executor_id: int = 0
    sealed_variables: str = ""


class RenameExecutor(Command):
    executor_id: int
    name: Name | None = None


class ChangeExecutorVariables(Command):
    """Replaces all of them."""

    executor_id: int
    variables: dict[Name, Value] | None = Field(default=None, repr=False, max_length=100)
    # filled in
    sealed_variables: str = ""


class DeleteExecutor(Command):
    executor_id: int


class ExecutorCreated(Event):
    executor_id: int
    name: str
    driver: str
    sealed_variables: str  # one JSON object


class ExecutorRenamed(Event):
    executor_id: int
    name: str


class ExecutorVariablesChanged(Event):
    executor_id: int
    sealed_variables: str


class ExecutorDeleted(Event):
    executor_id: int


class ExecutorView(Message):
    id: int
    name: str
    driver: str
    variables: dict[str, str] = Field(repr=False)  # values are asterisks unless asked for


class GetExecutor(Query):
    executor_id: int
    reveal: bool = False  # with the values of the variables in clear


class ListExecutors(Query):
    reveal: bool = False  # with the values of the variables in clear


class Executors(Message):
    executors: tuple[ExecutorView, ...]


ExecutorCommand = CreateExecutor | RenameExecutor | ChangeExecutorVariables | DeleteExecutor
ExecutorEvent = ExecutorCreated | ExecutorRenamed | ExecutorVariablesChanged | ExecutorDeleted
