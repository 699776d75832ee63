"""The mail rule aggregate: the builds of a project about which a user gets mails."""

from dataclasses import dataclass
from typing import assert_never

from contracts.notifications import MailBuilds, MailEvents, MailRuleChanged, MailRuleDeleted, MailRuleEvent
from libs.eventstore.decider import Decider, RequestRejected
from services.notifications.domain.internal_commands import DeleteMailRule, SetMailRule

MailRuleCommand = SetMailRule | DeleteMailRule


@dataclass(frozen=True, slots=True)
class MailRule:
    """State of a mail rule. A rule that was never set is the default: mails about own failed builds."""

    events: MailEvents = MailEvents.FAILED
    builds: MailBuilds = MailBuilds.OWN
    deleted: bool = False


def decide(rule: MailRule, command: MailRuleCommand) -> list[MailRuleEvent]:
    match command:
        case _ if rule.deleted:
            if isinstance(command, SetMailRule):
                raise RequestRejected("PROJECT_NOT_FOUND")
            return []
        case SetMailRule(events=events, builds=builds):
            return [] if (events, builds) == (rule.events, rule.builds) else [MailRuleChanged(**vars(command))]
        case DeleteMailRule():
            return [MailRuleDeleted(**vars(command))]
        case _:
            assert_never(command)


def evolve(_rule: MailRule, event: MailRuleEvent) -> MailRule:
    match event:
        case MailRuleChanged(events=events, builds=builds):
            return MailRule(events, builds)
        case MailRuleDeleted():
            return MailRule(deleted=True)
        case _:
            assert_never(event)


mail_rule_decider = Decider[MailRuleCommand, MailRule, MailRuleEvent](
    commands=(SetMailRule, DeleteMailRule),
    stream=lambda command: mail_rule_stream(command.project_id, command.user_id),
    initial=MailRule(),
    decide=decide,
    evolve=evolve,
)


def mail_rule_stream(project_id: int, user_id: int) -> str:
    return f"mailrule-{project_id}-{user_id}"
