"""An executor: a way to run builds, with variables of which only the sealed text is seen."""

from dataclasses import dataclass, replace
from typing import assert_never

from contracts.projects import (
    ChangeExecutorVariables,
    CreateExecutor,
    DeleteExecutor,
    ExecutorCommand,
    ExecutorCreated,
    ExecutorDeleted,
    ExecutorEvent,
    ExecutorRenamed,
    ExecutorVariablesChanged,
    RenameExecutor,
)
from libs.deciding import Decider, Refused
from services.projects.domain.text import required_line

OPENSTACK = ("FLAVOR_NAME", "IMAGE_NAME", "SECURITY_GROUP_NAME", "NETWORK_NAME", "VOLUME_ID")
DRIVERS: dict[str, dict[str, str]] = {"localDriver": {}, "openStackDriver": dict.fromkeys(OPENSTACK, "")}
"""Driver -> the variables a new executor starts with."""


@dataclass(frozen=True, slots=True)
class Executor:
    exists: bool = False
    deleted: bool = False
    name: str = ""


def decide(executor: Executor, command: ExecutorCommand) -> list[ExecutorEvent]:
    id_ = command.executor_id
    match executor.exists, command:
        case False, CreateExecutor() if not executor.deleted:
            return [created(command)]
        case False, _:
            raise Refused("EXECUTOR_NOT_FOUND")
        case _, RenameExecutor(name=name):
            name = required_line(name, "EXECUTOR_NAME_REQUIRED")
            return [ExecutorRenamed(executor_id=id_, name=name)] if name != executor.name else []
        case _, ChangeExecutorVariables(sealed_variables=sealed):
            return [ExecutorVariablesChanged(executor_id=id_, sealed_variables=sealed)]
        case _, DeleteExecutor():
            return [ExecutorDeleted(executor_id=id_)]
        case _:
            raise Refused("CONFLICT", "this executor exists already")


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


def created(command: CreateExecutor) -> ExecutorCreated:
    return ExecutorCreated(
        executor_id=command.executor_id,
        name=required_line(command.name, "EXECUTOR_NAME_REQUIRED"),
        driver=valid_driver(command.driver),
        sealed_variables=command.sealed_variables,
    )


def valid_driver(text: str | None) -> str:
    driver = required_line(text, "EXECUTOR_DRIVER_REQUIRED")
    if driver not in DRIVERS:
        raise Refused("EXECUTOR_DRIVER_INVALID")
    return driver


executor_decider = Decider[ExecutorCommand, Executor, ExecutorEvent](
    commands=(CreateExecutor, RenameExecutor, ChangeExecutorVariables, DeleteExecutor),
    stream=lambda command: f"executor-{command.executor_id}",
    initial=Executor(),
    decide=decide,
    evolve=evolve,
    creates=(CreateExecutor,),
)
