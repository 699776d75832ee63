"""The worker that requests the mails that users want in addition to mails about their own failed builds."""

from uuid import uuid5

from contracts.builds import BuildFinished, BuildStatus
from contracts.notifications import MailBuilds, MailEvents
from libs.clock import now
from libs.eventstore.decider import RecordedEvent
from libs.service.declaration import Context
from services.notifications.mail_rules.mail_rule_projection import MailRuleRow
from services.notifications.policies import NOTIFICATION_NAMESPACE, compose_mail
from services.notifications.receivers.build_occasions import MAX_EVENT_AGE
from services.notifications.receivers.previous_results import is_fix

MAX_RECIPIENTS = 500  # users whose rules are applied to one build


async def request_rule_mails(ctx: Context, recorded: RecordedEvent[BuildFinished]) -> None:
    """Request a mail for each user whose rule matches the build, except for the mail that `on_build_finished` requests.

    Ignore builds that finished longer ago than MAX_EVENT_AGE.
    """
    build = recorded.event
    if now() - recorded.at > MAX_EVENT_AGE:
        return
    failed = build.exit_code != 0
    events = [MailEvents.ALWAYS, MailEvents.FIXED, *([MailEvents.FAILED] if failed else [])]
    condition = {
        "project_id": build.project_id,
        "events": {"$in": events},
        "$or": [{"builds": MailBuilds.ALL}, {"user_id": build.initiator_id}],
    }
    rules = await ctx.read_model(MailRuleRow).find(condition, [("id", 1)], limit=MAX_RECIPIENTS)
    if failed:  # `on_build_finished` requests the mail to the initiator
        rules = [rule for rule in rules if rule.user_id != build.initiator_id]
    if not rules:
        return
    fixed = build.status is BuildStatus.SUCCESS and await is_fix(ctx, build.build_id, recorded.version)
    for rule in rules:
        if failed or fixed or rule.events is MailEvents.ALWAYS:
            notification_id = str(uuid5(NOTIFICATION_NAMESPACE, f"{recorded.id}/{rule.user_id}"))
            await ctx.send(compose_mail(build, notification_id, rule.user_id, is_fix=fixed), step=rule.id)
