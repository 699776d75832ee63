"""Projections of the projects' access and of the companies' members, for services that own neither."""

from contracts.identity import CompanyCreated, CompanyDeleted, CompanyMembersSet
from contracts.messages import Event, ReadModelRow
from contracts.projects import (
    ProjectAccess,
    ProjectCreated,
    ProjectDevelopersSet,
    ProjectMoved,
    ProjectSettingsChanged,
)
from libs.eventstore.decider import RecordedEvent
from libs.service.declaration import Context, Projection

ACCESS_FIELDS = set(ProjectAccess.model_fields)

AccessEvent = ProjectCreated | ProjectSettingsChanged | ProjectDevelopersSet | ProjectMoved
CompanyMembershipEvent = CompanyCreated | CompanyMembersSet | CompanyDeleted


class ProjectAccessRow(ProjectAccess):
    """Who may access a project. The row outlives the project, because its events and durations can still be read."""

    id: int = 0


def access_key(recorded: RecordedEvent[Event]) -> str | None:
    match recorded.event:
        case ProjectCreated() | ProjectDevelopersSet() | ProjectMoved():
            return recorded.stream
        case ProjectSettingsChanged() as changed if ACCESS_FIELDS & changed.model_fields_set:
            return recorded.stream
        case _:
            return None


def apply_access_event(row: ProjectAccessRow, recorded: RecordedEvent[AccessEvent]) -> ProjectAccessRow:
    return row.replace(id=recorded.event.project_id, **recorded.event.model_dump(include=ACCESS_FIELDS))


project_access_projection = Projection(
    "project_access", "projects", access_key, ProjectAccessRow(), apply_access_event, indexes=(("visibility", "id"),)
)


class CompanyMembersRow(ReadModelRow):
    id: int = 0
    members_id: tuple[int, ...] = ()


def company_key(recorded: RecordedEvent[Event]) -> str | None:
    is_relevant = isinstance(recorded.event, CompanyCreated | CompanyMembersSet | CompanyDeleted)
    return recorded.stream if is_relevant else None


def apply_company_event(_row: CompanyMembersRow, recorded: RecordedEvent[CompanyMembershipEvent]) -> CompanyMembersRow:
    match recorded.event:
        case CompanyDeleted():
            return CompanyMembersRow()
        case (
            CompanyCreated(company_id=company_id, members_id=members)
            | CompanyMembersSet(company_id=company_id, members_id=members)
        ):
            return CompanyMembersRow(id=company_id, members_id=members)


company_members_projection = Projection(
    "company_members",
    "identity",
    company_key,
    CompanyMembersRow(),
    apply_company_event,
    indexes=(("members_id",), ("id",)),
    is_deleted=lambda row: row.id == 0,
)


async def list_companies_of(ctx: Context, user_id: int) -> list[int]:
    """Return the companies that the user is a member of, from the projection of this service."""
    found = await ctx.read_model(CompanyMembersRow).find_values({"members_id": user_id}, "id")
    return [company_id for (company_id,) in found]
