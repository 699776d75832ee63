"""Routes of executors: named sets of variables."""

from functools import partial
from typing import Annotated

from fastapi import Security

from contracts.projects import (
    ChangeExecutorVariables,
    CreateExecutor,
    DeleteExecutor,
    GetExecutor,
    ListExecutors,
    RenameExecutor,
)
from gateway.adapters.free_commit.models import EXECUTORS, ONE_EXECUTOR
from gateway.adapters.free_commit.request_fields import EXECUTOR, EXECUTOR_CHANGE
from gateway.dependencies import admin, developer
from gateway.forwarding.changes import forward_change
from gateway.forwarding.forward import forward
from gateway.routers.prefix_router import free_commit_router
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import ReturnMessage

DeveloperReader = Annotated[Actor, Security(developer, scopes=["PROJECT_READ"])]
AdminReader = Annotated[Actor, Security(admin, scopes=["PROJECT_READ"])]
AdminWriter = Annotated[Actor, Security(admin, scopes=["PROJECT_WRITE"])]
AdminEditor = Annotated[Actor, Security(admin, scopes=["PROJECT_EDIT"])]

developers = free_commit_router("/api/developer/executors", "Executors")
admins = free_commit_router("/api/admin/executors", "Executors")
revealed = ReturnMessage(GetExecutor, "executor_id", reveal=True)
change = partial(
    forward_change, admins, "/{executor_id:id}", user=AdminEditor, response=ONE_EXECUTOR, return_message=revealed
)
LIST = "List all executors by id. Only administrators see the values of variables."
GET = "Get an executor. Only administrators see the values of its variables."

forward(developers, "GET", "", ListExecutors, DeveloperReader, LIST, response=EXECUTORS)
forward(developers, "GET", "/{executor_id:id}", GetExecutor, DeveloperReader, GET, response=ONE_EXECUTOR)
forward(admins, "GET", "", ListExecutors, AdminReader, LIST, response=EXECUTORS, fixed={"reveal": True})
forward(
    admins, "GET", "/{executor_id:id}", GetExecutor, AdminReader, GET, response=ONE_EXECUTOR, fixed={"reveal": True}
)
forward(
    admins,
    "POST",
    "",
    CreateExecutor,
    AdminWriter,
    "Create a named set of variables. A new `openStackDriver` has five empty ones.",
    body=EXECUTOR,
    response=ONE_EXECUTOR,
    return_message=revealed,
    status_code=201,
)
change("name", RenameExecutor, "Change the executor's name.", body=EXECUTOR)
change(
    "variables",
    ChangeExecutorVariables,
    "Replace all variables of the executor.",
    body=EXECUTOR_CHANGE,
    required=False,
)
forward(
    admins,
    "DELETE",
    "/{executor_id:id}",
    DeleteExecutor,
    AdminWriter,
    "Delete an executor. Rejected while a project uses it.",
    status_code=204,
    errors=("EXECUTOR_IN_USE",),
)
