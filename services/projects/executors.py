"""Executors: sealing their variables, and the one that exists after the first start."""

import json
from contextlib import suppress
from typing import Any

from pymongo.errors import DuplicateKeyError

from contracts.errors import Refused
from contracts.projects import (
    ChangeExecutorVariables,
    CreateExecutor,
    DeleteExecutor,
    Executors,
    ExecutorView,
    GetExecutor,
    ListExecutors,
)
from libs.service import Context
from services.projects.domain.executor import DRIVERS, created
from services.projects.views import ExecutorRow, executor_view


async def before_creating(ctx: Context, command: CreateExecutor) -> CreateExecutor:
    driver = created(command).driver
    id_ = command.executor_id or await ctx.next_id("executor")
    return command.but(executor_id=id_, sealed_variables=await sealed(ctx, id_, DRIVERS[driver]))


async def before_changing_variables(ctx: Context, command: ChangeExecutorVariables) -> ChangeExecutorVariables:
    row = await existing(ctx, command.executor_id)
    return command.but(variables=None, sealed_variables=await sealed(ctx, row.id, command.variables or {}))


async def before_deleting(ctx: Context, command: DeleteExecutor) -> DeleteExecutor:
    if await ctx.rows("project").count({"executor_id": command.executor_id}):
        raise Refused("EXECUTOR_IN_USE")
    return command


async def get(ctx: Context, query: GetExecutor) -> ExecutorView:
    return await view(ctx, await existing(ctx, query.executor_id), reveal=query.reveal)


async def list_all(ctx: Context, query: ListExecutors) -> Executors:
    rows = await ctx.rows("executor").find({}, [("id", 1)])
    return Executors(executors=tuple([await view(ctx, row, reveal=query.reveal) for row in rows]))


async def ensure_default_executor(ctx: Context) -> None:
    """Its number is agreed on before it is made: replicas that start at once mean the same one."""
    if await ctx.rows("executor").count({}):
        return
    agreed = ctx.collection("agreed_ids")
    with suppress(DuplicateKeyError):
        await agreed.insert_one({"_id": "default executor", "executor_id": await ctx.next_id("executor")})
    stored = await agreed.find_one({"_id": "default executor"})
    try:
        await ctx.tell(CreateExecutor(name="default", driver="localDriver", executor_id=stored["executor_id"]))
    except Refused as refused:
        if refused.code not in ("CONFLICT", "EXECUTOR_NOT_FOUND"):  # made by another replica, or deleted since
            raise


async def existing(ctx: Context, executor_id: int) -> ExecutorRow:
    row: ExecutorRow | None = await ctx.rows("executor").get(f"executor-{executor_id}")
    if row is None:
        raise Refused("EXECUTOR_NOT_FOUND")
    return row


async def sealed(ctx: Context, executor_id: int, variables: dict[str, str]) -> str:
    """Nothing to hide, nothing to seal: most executors have no variables."""
    return await ctx.vault.seal(f"executor-{executor_id}", json.dumps(variables)) if variables else ""


async def view(ctx: Context, row: ExecutorRow, *, reveal: bool) -> ExecutorView:
    sealed_variables = row.sealed_variables
    opened = await ctx.vault.open(f"executor-{row.id}", sealed_variables) if sealed_variables else "{}"
    variables: dict[str, Any] = json.loads(opened)
    return executor_view(row, variables, reveal=reveal)
