"""Executors: sealing their variables, and the one that exists after the first start."""

import json
from contextlib import suppress
from typing import Any

from pymongo.errors import DuplicateKeyError

from contracts.errors import RequestRejected
from contracts.projects import (
    ChangeExecutorVariables,
    CreateExecutor,
    DeleteExecutor,
    Executors,
    ExecutorView,
    GetExecutor,
    ListExecutors,
)
from libs.service.declaration import Context
from services.projects.domain.executor import DRIVER_VARIABLES, make_executor_created
from services.projects.projections import ExecutorRow, to_executor_view


async def prepare_executor(ctx: Context, command: CreateExecutor) -> CreateExecutor:
    driver = make_executor_created(command).driver
    id_ = command.executor_id or await ctx.next_id("executor")
    return command.replace(
        executor_id=id_, sealed_variables=await encrypt_variables(ctx, id_, DRIVER_VARIABLES[driver])
    )


async def prepare_variables_change(ctx: Context, command: ChangeExecutorVariables) -> ChangeExecutorVariables:
    row = await require_executor(ctx, command.executor_id)
    return command.replace(
        variables=None, sealed_variables=await encrypt_variables(ctx, row.id, command.variables or {})
    )


async def prepare_executor_deletion(ctx: Context, command: DeleteExecutor) -> DeleteExecutor:
    if await ctx.read_model("project").count({"executor_id": command.executor_id}):
        raise RequestRejected("EXECUTOR_IN_USE")
    return command


async def get_executor(ctx: Context, query: GetExecutor) -> ExecutorView:
    return await load_view(ctx, await require_executor(ctx, query.executor_id), reveal=query.reveal)


async def list_executors(ctx: Context, query: ListExecutors) -> Executors:
    rows = await ctx.read_model("executor").find({}, [("id", 1)])
    return Executors(executors=tuple([await load_view(ctx, row, reveal=query.reveal) for row in rows]))


async def ensure_default_executor(ctx: Context) -> None:
    """Its number is agreed on before it is made: replicas that start at once mean the same one."""
    if await ctx.read_model("executor").count({}):
        return
    agreed = ctx.collection("agreed_ids")
    with suppress(DuplicateKeyError):
        await agreed.insert_one({"_id": "default executor", "executor_id": await ctx.next_id("executor")})
    stored = await agreed.find_one({"_id": "default executor"})
    try:
        await ctx.send(CreateExecutor(name="default", driver="localDriver", executor_id=stored["executor_id"]))
    except RequestRejected as refused:
        if refused.code not in ("CONFLICT", "EXECUTOR_NOT_FOUND"):  # made by another replica, or deleted since
            raise


async def require_executor(ctx: Context, executor_id: int) -> ExecutorRow:
    row: ExecutorRow | None = await ctx.read_model("executor").get(f"executor-{executor_id}")
    if row is None:
        raise RequestRejected("EXECUTOR_NOT_FOUND")
    return row


async def encrypt_variables(ctx: Context, executor_id: int, variables: dict[str, str]) -> str:
    """Nothing to hide, nothing to seal: most executors have no variables."""
    return await ctx.vault.encrypt(f"executor-{executor_id}", json.dumps(variables)) if variables else ""


async def load_view(ctx: Context, row: ExecutorRow, *, reveal: bool) -> ExecutorView:
    sealed_variables = row.sealed_variables
    opened = await ctx.vault.decrypt(f"executor-{row.id}", sealed_variables) if sealed_variables else "{}"
    variables: dict[str, Any] = json.loads(opened)
    return to_executor_view(row, variables, reveal=reveal)
