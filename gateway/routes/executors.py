"""Executors."""

from functools import partial

from contracts.projects import (
    ChangeExecutorVariables,
    CreateExecutor,
    DeleteExecutor,
    GetExecutor,
    ListExecutors,
    RenameExecutor,
)
from gateway.dialects import free_commit as fc
from gateway.fields import mapping, scalar
from gateway.routes.patching import change
from gateway.routing import Shown, command, query
from libs.messaging import Showing

_executor = Shown(Showing(GetExecutor, "executor_id", reveal=True), fc.ONE_EXECUTOR)
executor = partial(change, "/admin/executors/{executor_id:id}", "executor", shows=_executor)

EXECUTORS = (
    query("/developer/executors", ListExecutors, write=fc.EXECUTORS),
    query("/developer/executors/{executor_id:id}", GetExecutor, write=fc.ONE_EXECUTOR),
    query("/admin/executors", ListExecutors, parts=(fc.revealed,), write=fc.EXECUTORS),
    query("/admin/executors/{executor_id:id}", GetExecutor, parts=(fc.revealed,), write=fc.ONE_EXECUTOR),
    command("POST", "/admin/executors", CreateExecutor, body=fc.EXECUTOR, status=201, shows=_executor),
    executor("name", RenameExecutor, name=scalar),
    executor("variables", ChangeExecutorVariables, variables=mapping),
    command("DELETE", "/admin/executors/{executor_id:id}", DeleteExecutor, status=204, errors=("EXECUTOR_IN_USE",)),
)
