"""Routes of executors: named sets of variables."""

from functools import partial

from contracts.projects import (
    ChangeExecutorVariables,
    CreateExecutor,
    DeleteExecutor,
    GetExecutor,
    ListExecutors,
    RenameExecutor,
)
from gateway.adapters.free_commit import models as fc
from gateway.framework.fields import mapping, scalar
from gateway.framework.route_table import Shown, command, query
from gateway.routes.route_builders import patch_field
from libs.messaging.request_reply import ReturnQuery

_executor = Shown(ReturnQuery(GetExecutor, "executor_id", reveal=True), fc.ONE_EXECUTOR)
patch_executor = partial(patch_field, "/admin/executors/{executor_id:id}", "executor", shows=_executor)

EXECUTORS = (
    query("/developer/executors", ListExecutors, write=fc.EXECUTORS),
    query("/developer/executors/{executor_id:id}", GetExecutor, write=fc.ONE_EXECUTOR),
    query("/admin/executors", ListExecutors, parts=(fc.reveal_always,), write=fc.EXECUTORS),
    query("/admin/executors/{executor_id:id}", GetExecutor, parts=(fc.reveal_always,), write=fc.ONE_EXECUTOR),
    command("POST", "/admin/executors", CreateExecutor, body=fc.EXECUTOR, status=201, shows=_executor),
    patch_executor("name", RenameExecutor, name=scalar),
    patch_executor("variables", ChangeExecutorVariables, variables=mapping),
    command("DELETE", "/admin/executors/{executor_id:id}", DeleteExecutor, status=204, errors=("EXECUTOR_IN_USE",)),
)
