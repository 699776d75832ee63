"""Companies: their rows, what their commands need before they are decided, and the answers about them."""

from datetime import UTC, datetime

from contracts.errors import Refused
from contracts.identity import (
    ChooseMembers,
    Companies,
    CompanyCreated,
    CompanyDeleted,
    CompanyEvent,
    CompanyMembersChosen,
    CompanyRenamed,
    CompanyTitleChanged,
    CompanyView,
    CreateCompany,
    DeleteCompany,
    GetCompany,
    ListCompanies,
    RecordCompany,
)
from contracts.messages import Done, Row
from contracts.projects import CountProjects, ProjectCount
from libs.deciding import Category, Recorded
from libs.service import Context
from libs.slugs import numbered, pattern, slug
from services.identity.company import company_decider, unique, valid_alias, valid_title

ATTEMPTS = 10


class CompanyRow(Row):
    id: int = 0
    alias: str = ""
    alias_key: str = ""  # lower case
    title: str = ""
    members_id: tuple[int, ...] = ()
    created_at: datetime = datetime.fromtimestamp(0, UTC)


def describe(row: CompanyRow, recorded: Recorded[CompanyEvent]) -> CompanyRow:
    match recorded.event:
        case CompanyCreated() as event:
            return CompanyRow(
                id=event.company_id,
                alias=event.alias,
                alias_key=event.alias.lower(),
                title=event.title,
                members_id=event.members_id,
                created_at=recorded.at,
            )
        case CompanyTitleChanged(title=title):
            return row.but(title=title)
        case CompanyRenamed(alias=alias):
            return row.but(alias=alias, alias_key=alias.lower())
        case CompanyMembersChosen(members_id=ids):
            return row.but(members_id=ids)
        case CompanyDeleted():
            return CompanyRow()


company_category = Category(
    "company",
    company_decider,
    CompanyRow(),
    describe,
    indexes=(("id",), ("alias_key",), ("members_id",)),
    gone=lambda row: row.id == 0,
)


# creating, changing, deleting


async def create(ctx: Context, command: CreateCompany) -> Done:
    """An alias that nobody asked for gives way to one that was taken a moment earlier."""
    record = RecordCompany.model_validate(dict(command))
    for _ in range(ATTEMPTS - 1):
        try:
            return await ctx.tell(record)  # what was refused is not recorded, so the same command may try again
        except Refused as refused:
            if refused.code != "COMPANY_ALIAS_TAKEN" or command.alias:
                raise
    return await ctx.tell(record)


async def before_recording(ctx: Context, command: RecordCompany) -> RecordCompany:
    title = valid_title(command.title)
    alias = valid_alias(command.alias) if command.alias else await free_alias(ctx, slug(title, "company"))
    await check_members(ctx, command)
    return command.but(alias=alias, company_id=await ctx.next_id("company"))


async def check_members(ctx: Context, command: RecordCompany | ChooseMembers) -> RecordCompany | ChooseMembers:
    """Whoever is to be a member must exist."""
    members = unique(command.members_id)
    known = {row.id for row in await ctx.rows("user").find({"_id": {"$in": [f"user-{one}" for one in members]}})}
    if missing := set(members) - known:
        raise Refused("DEVELOPER_NOT_FOUND", f"There is no user {min(missing)}.")
    return command


async def free_alias(ctx: Context, wanted: str) -> str:
    """The wanted alias, or the first with a number that neither a user nor a company has."""
    alike = {"$regex": pattern(wanted)}
    users = await ctx.rows("user").find({"username_key": alike})
    companies = await ctx.rows("company").find({"alias_key": alike})
    return numbered(wanted, {row.username_key for row in users} | {row.alias_key for row in companies})


async def before_deleting(ctx: Context, command: DeleteCompany) -> DeleteCompany:
    owned = ProjectCount.model_validate(await ctx.ask(CountProjects(company_id=command.company_id)))
    if owned.count:
        raise Refused("COMPANY_PROJECTS_NOT_EMPTY", f"The company still owns projects: {owned.count}.")
    return command


# answers


async def get_company(ctx: Context, query: GetCompany) -> CompanyView:
    row = await by_alias(ctx, query.alias) if query.company_id is None else await by_id(ctx, query.company_id)
    if row is None:
        raise Refused("COMPANY_NOT_FOUND")
    return shown(row)


async def list_companies(ctx: Context, _query: ListCompanies) -> Companies:
    rows = await ctx.rows("company").find({}, [("id", 1)])
    return Companies(companies=tuple(shown(row) for row in rows))


async def by_id(ctx: Context, company_id: int) -> CompanyRow | None:
    row: CompanyRow | None = await ctx.rows("company").get(f"company-{company_id}")
    return row


async def by_alias(ctx: Context, alias: str | None) -> CompanyRow | None:
    row: CompanyRow | None = await ctx.rows("company").one({"alias_key": (alias or "").lower()})
    return row


def shown(row: CompanyRow) -> CompanyView:
    return CompanyView(
        id=row.id, alias=row.alias, title=row.title, members_id=row.members_id, created_at=row.created_at
    )
