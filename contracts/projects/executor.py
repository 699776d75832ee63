"""Messages about executors, which have a name, a driver and variables."""

from typing import ClassVar

from pydantic import Field

from contracts.messages import Command, Event, Message, Query
from contracts.paging import PageRequest
from contracts.projects.fields import Name, Value


class CreateExecutor(Command):
    """Create an executor. Errors: EXECUTOR_NAME_REQUIRED, EXECUTOR_DRIVER_REQUIRED, EXECUTOR_DRIVER_INVALID."""

    former_fields: ClassVar[frozenset[str]] = frozenset({"executor_id", "sealed_variables"})

    name: Name | None = None
    driver: Name | None = None


class RenameExecutor(Command):
    """Change the name of an executor. Errors: EXECUTOR_NOT_FOUND, EXECUTOR_NAME_REQUIRED."""

    executor_id: int
    name: Name | None = None


class ChangeExecutorVariables(Command):
    """Replace all variables of an executor. Errors: EXECUTOR_NOT_FOUND."""

    former_fields: ClassVar[frozenset[str]] = frozenset({"sealed_variables"})

    executor_id: int
    variables: dict[Name, Value] | None = Field(default=None, repr=False, max_length=100)


class DeleteExecutor(Command):
    """Delete an executor. Errors: EXECUTOR_NOT_FOUND, and EXECUTOR_IN_USE if a project uses the executor."""

    executor_id: int


class ExecutorCreated(Event):
    """An executor was created, with the initial variables of its driver."""

    executor_id: int
    name: str
    driver: str
    sealed_variables: str  # one JSON object, encrypted; empty: no variables


class ExecutorRenamed(Event):
    executor_id: int
    name: str


class ExecutorVariablesChanged(Event):
    """The variables of an executor were replaced."""

    executor_id: int
    sealed_variables: str


class ExecutorDeleted(Event):
    """An executor was deleted. Its variables can no longer be decrypted."""

    executor_id: int


class ExecutorView(Message):
    id: int
    name: str
    driver: str
    variables: dict[str, str] = Field(repr=False)  # values are asterisks unless revealed


class GetExecutor(Query):
    """Get an executor. Answer: ExecutorView. Errors: EXECUTOR_NOT_FOUND."""

    executor_id: int
    reveal: bool = False  # include the values of the variables


class ListExecutors(PageRequest):
    """List all executors, by id. Answer: Page of ExecutorView."""

    reveal: bool = False  # include the values of the variables


ExecutorEvent = ExecutorCreated | ExecutorRenamed | ExecutorVariablesChanged | ExecutorDeleted
