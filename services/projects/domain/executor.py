"""The executor aggregate: a name, a driver and encrypted variables."""

from dataclasses import dataclass, replace
from typing import assert_never

from contracts.projects import (
    DeleteExecutor,
    ExecutorCreated,
    ExecutorDeleted,
    ExecutorEvent,
    ExecutorRenamed,
    ExecutorVariablesChanged,
    RenameExecutor,
)
from libs.eventstore.decider import Decider, RequestRejected
from services.projects.domain.internal_commands import AddExecutor, SetExecutorVariables
from services.projects.domain.validation import require_line

ExecutorCommand = AddExecutor | RenameExecutor | SetExecutorVariables | DeleteExecutor

OPENSTACK_VARIABLES = ("FLAVOR_NAME", "IMAGE_NAME", "SECURITY_GROUP_NAME", "NETWORK_NAME", "VOLUME_ID")
DRIVER_VARIABLES: dict[str, dict[str, str]] = {
    "localDriver": {},
    "openStackDriver": dict.fromkeys(OPENSTACK_VARIABLES, ""),
}
"""Driver name -> initial variables of a new executor."""


@dataclass(frozen=True, slots=True)
class Executor:
    exists: bool = False
    deleted: bool = False
    name: str = ""


def decide(executor: Executor, command: ExecutorCommand) -> list[ExecutorEvent]:
    id_ = command.executor_id
    match executor.exists, command:
        case False, AddExecutor() if not executor.deleted:
            return [make_executor_created(command)]
        case False, _:
            raise RequestRejected("EXECUTOR_NOT_FOUND")
        case _, RenameExecutor(name=name):
            name = require_line(name, "EXECUTOR_NAME_REQUIRED")
            return [ExecutorRenamed(executor_id=id_, name=name)] if name != executor.name else []
        case _, SetExecutorVariables(sealed_variables=sealed):
            return [ExecutorVariablesChanged(executor_id=id_, sealed_variables=sealed)]
        case _, DeleteExecutor():
            return [ExecutorDeleted(executor_id=id_)]
        case _:
            raise RequestRejected("CONFLICT", "This executor already exists.")


def evolve(executor: Executor, event: ExecutorEvent) -> Executor:
    match event:
        case ExecutorCreated(name=name):
            return Executor(True, False, name)
        case ExecutorRenamed(name=name):
            return replace(executor, name=name)
        case ExecutorDeleted():
            return Executor(deleted=True)
        case ExecutorVariablesChanged():
            return executor
        case _:
            assert_never(event)


def make_executor_created(command: AddExecutor) -> ExecutorCreated:
    return ExecutorCreated(
        executor_id=command.executor_id,
        name=require_line(command.name, "EXECUTOR_NAME_REQUIRED"),
        driver=validate_driver(command.driver),
        sealed_variables=command.sealed_variables,
    )


def validate_driver(text: str | None) -> str:
    driver = require_line(text, "EXECUTOR_DRIVER_REQUIRED")
    if driver not in DRIVER_VARIABLES:
        raise RequestRejected("EXECUTOR_DRIVER_INVALID")
    return driver


executor_decider = Decider[ExecutorCommand, Executor, ExecutorEvent](
    commands=(AddExecutor, RenameExecutor, SetExecutorVariables, DeleteExecutor),
    stream=lambda command: f"executor-{command.executor_id}",
    initial=Executor(),
    decide=decide,
    evolve=evolve,
    initial_commands=(AddExecutor,),
)
