"""Commands and queries of mail rules, and their deletion with the project or the user."""

from contracts.errors import RequestRejected
from contracts.identity import UserDeleted
from contracts.messages import Message
from contracts.notifications import ChangeMailRule, GetMailRule, MailBuilds, MailEvents, MailRuleView
from contracts.projects import ProjectDeleted
from libs.documents import Filter
from libs.eventstore.decider import RecordedEvent
from libs.eventstore.repository import CommandResult
from libs.permissions.lookups import fetch_project_access
from libs.service.declaration import Context
from services.notifications.domain.internal_commands import DeleteMailRule, SetMailRule
from services.notifications.domain.mail_rule import mail_rule_stream
from services.notifications.mail_rules.mail_rule_projection import MailRuleRow


async def prepare_mail_rule(ctx: Context, command: ChangeMailRule) -> SetMailRule:
    """Return the actor's whole rule, with the changed fields.

    Raises RequestRejected with PROJECT_NOT_FOUND, or with FORBIDDEN if the actor is not a user.
    """
    await require_user_and_project(ctx, command.project_id)
    rule = await load_rule(ctx, command.project_id)
    sent = command.model_fields_set
    return SetMailRule(
        project_id=command.project_id,
        user_id=ctx.metadata.actor.id,
        events=(command.events or MailEvents.FAILED) if "events" in sent else rule.events,
        builds=(command.builds or MailBuilds.OWN) if "builds" in sent else rule.builds,
    )


async def show_mail_rule(_ctx: Context, command: ChangeMailRule, result: CommandResult[MailRuleRow]) -> Message:
    return to_view(result.row, command.project_id)


async def get_mail_rule(ctx: Context, query: GetMailRule) -> MailRuleView:
    await require_user_and_project(ctx, query.project_id)
    return to_view(await load_rule(ctx, query.project_id), query.project_id)


async def load_rule(ctx: Context, project_id: int) -> MailRuleRow:
    """Return the actor's rule, or the default rule if the actor has none."""
    stream = mail_rule_stream(project_id, ctx.metadata.actor.id)
    return await ctx.read_model(MailRuleRow).get(stream) or MailRuleRow()


def to_view(row: MailRuleRow, project_id: int) -> MailRuleView:
    return MailRuleView(project_id=project_id, events=row.events, builds=row.builds)


async def require_user_and_project(ctx: Context, project_id: int) -> None:
    if ctx.metadata.actor.id == 0:
        raise RequestRejected("FORBIDDEN", "Only users have mail rules.")
    if await fetch_project_access(ctx, project_id) is None:
        raise RequestRejected("PROJECT_NOT_FOUND")


async def delete_rules_of_project(ctx: Context, recorded: RecordedEvent[ProjectDeleted]) -> None:
    await delete_rules(ctx, {"project_id": recorded.event.project_id})


async def delete_rules_of_user(ctx: Context, recorded: RecordedEvent[UserDeleted]) -> None:
    await delete_rules(ctx, {"user_id": recorded.event.user_id})


async def delete_rules(ctx: Context, condition: Filter) -> None:
    async for row in ctx.read_model(MailRuleRow).walk(condition):
        await ctx.send(DeleteMailRule(project_id=row.project_id, user_id=row.user_id), step=row.id)
