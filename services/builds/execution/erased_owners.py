"""Erasure of the name of a project's owner from the events and rows of the project's builds and jobs."""

from contracts.builds import BuildRow
from contracts.identity import GetUsernames, Usernames
from contracts.projects import ProjectMoved
from libs.eventstore.decider import RecordedEvent
from libs.privacy.redaction import update_commits
from libs.service.declaration import Context, RetryLater
from services.builds.projections import build_category, job_category

RETRY_SECONDS = 10.0  # pause before the next attempt while the project has unfinished builds
HAS_TEXT = {"$gt": ""}


async def erase_owner_name(ctx: Context, recorded: RecordedEvent[ProjectMoved]) -> None:
    """Remove the name if the owner of the project was erased. Runners get the current owner's name with the secrets.

    Raises RetryLater while the project has unfinished builds.
    """
    user_id, project_id = recorded.event.owner_user_id, recorded.event.project_id
    if user_id is None or (await ctx.query(GetUsernames(user_ids=(user_id,)), Usernames)).names:
        return
    if await ctx.read_model(BuildRow).find_one({"project_id": project_id, "finished": False}):
        raise RetryLater(RETRY_SECONDS)  # the next event of a build would write the row with the name again
    await update_commits(
        ctx.collection("commits"),
        {"events.data.project_id": project_id, "events.data.project.owner_alias": HAS_TEXT},
        {"$set": {"events.$[launched].data.project.owner_alias": "", "events.$[queued].data.owner_alias": ""}},
        [{"launched.data.project.owner_alias": HAS_TEXT}, {"queued.data.owner_alias": HAS_TEXT}],
    )
    for category in (build_category, job_category):
        previous = category.previous_row
        for row in (category.row_field, *([previous.field_name(category.name)] if previous else [])):
            names = {f"{row}.project.owner_alias": ""} | (
                {f"{row}.owner_alias": ""} if category is job_category else {}
            )
            of_project = {f"{row}.project_id": project_id, f"{row}.project.owner_alias": HAS_TEXT}
            await ctx.collection("streams").update_many(of_project, {"$set": names})
