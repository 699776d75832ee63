"""Command preparation and queries for executors, and the default executor."""

import json
from contextlib import suppress

from pymongo.errors import DuplicateKeyError

from contracts.errors import RequestRejected
from contracts.messages import Page
from contracts.projects import (
    ChangeExecutorVariables,
    CreateExecutor,
    DeleteExecutor,
    ExecutorView,
    GetExecutor,
    ListExecutors,
)
from libs.projections.paging import BY_ID, fetch_rows
from libs.service.declaration import Context
from services.projects.domain.executor import DRIVER_VARIABLES, validate_driver
from services.projects.domain.internal_commands import AddExecutor, SetExecutorVariables
from services.projects.domain.validation import require_line
from services.projects.projections import ExecutorRow, ProjectRow
from services.projects.views import to_executor_view


async def prepare_executor(ctx: Context, command: CreateExecutor) -> AddExecutor:
    name = require_line(command.name, "EXECUTOR_NAME_REQUIRED")
    driver = validate_driver(command.driver)
    executor_id = await ctx.next_id("executor")
    sealed_variables = await encrypt_variables(ctx, executor_id, DRIVER_VARIABLES[driver])
    return AddExecutor(executor_id=executor_id, name=name, driver=driver, sealed_variables=sealed_variables)


async def prepare_variables_change(ctx: Context, command: ChangeExecutorVariables) -> SetExecutorVariables:
    row = await require_executor(ctx, command.executor_id)
    sealed_variables = await encrypt_variables(ctx, row.id, command.variables or {})
    return SetExecutorVariables(executor_id=row.id, sealed_variables=sealed_variables)


async def prepare_executor_deletion(ctx: Context, command: DeleteExecutor) -> DeleteExecutor:
    """Return the command. Raises RequestRejected if a project uses the executor."""
    if await ctx.read_model(ProjectRow).count({"executor_id": command.executor_id}):
        raise RequestRejected("EXECUTOR_IN_USE")
    return command


async def get_executor(ctx: Context, query: GetExecutor) -> ExecutorView:
    return await load_executor_view(ctx, await require_executor(ctx, query.executor_id), reveal=query.reveal)


async def list_executors(ctx: Context, query: ListExecutors) -> Page:
    page = await fetch_rows(ctx.read_model(ExecutorRow), query, BY_ID)
    return page.render([await load_executor_view(ctx, row, reveal=query.reveal) for row in page.rows])


async def ensure_default_executor(ctx: Context) -> None:
    """Create the default executor if there is no executor.

    Its id is stored first, so that replicas that start concurrently create the same executor.
    """
    if await ctx.read_model(ExecutorRow).count({}):
        return
    agreed_ids = ctx.collection("agreed_ids")
    with suppress(DuplicateKeyError):
        await agreed_ids.insert_one({"_id": "default executor", "executor_id": await ctx.next_id("executor")})
    stored = await agreed_ids.find_one({"_id": "default executor"})
    assert stored is not None  # noqa: S101  inserted above, by this or another replica
    try:
        await ctx.send(AddExecutor(executor_id=stored["executor_id"], name="default", driver="localDriver"))
    except RequestRejected as rejected:
        # created by another replica, or deleted since and perhaps removed from the log
        if rejected.code not in ("CONFLICT", "EXECUTOR_NOT_FOUND", "NOT_FOUND"):
            raise


async def require_executor(ctx: Context, executor_id: int) -> ExecutorRow:
    """Return the executor. Raises RequestRejected with EXECUTOR_NOT_FOUND."""
    row = await ctx.read_model(ExecutorRow).get(f"executor-{executor_id}")
    if row is None:
        raise RequestRejected("EXECUTOR_NOT_FOUND")
    return row


async def encrypt_variables(ctx: Context, executor_id: int, variables: dict[str, str]) -> str:
    """Return the encrypted variables as JSON, or an empty text if there are none."""
    return await ctx.vault.encrypt(f"executor-{executor_id}", json.dumps(variables)) if variables else ""


async def load_executor_view(ctx: Context, row: ExecutorRow, *, reveal: bool) -> ExecutorView:
    """Return the view of an executor. Without `reveal` the values of its variables are masked."""
    variables: dict[str, str] = {}
    if row.sealed_variables:
        variables = json.loads(await ctx.vault.decrypt(f"executor-{row.id}", row.sealed_variables))
    return to_executor_view(row, variables, reveal=reveal)
