"""Commands to a mail rule: changes, repetitions and deletion."""

from contracts.notifications import MailBuilds, MailEvents, MailRuleChanged, MailRuleDeleted
from services.notifications.domain.internal_commands import DeleteMailRule, SetMailRule
from services.notifications.domain.mail_rule import mail_rule_decider
from tests.support.scenario import Scenario

rule = Scenario(mail_rule_decider)
changed = MailRuleChanged(project_id=3, user_id=5, events=MailEvents.FIXED, builds=MailBuilds.ALL)
deleted = MailRuleDeleted(project_id=3, user_id=5)
change = SetMailRule(3, 5, MailEvents.FIXED, MailBuilds.ALL)
reset = SetMailRule(3, 5, MailEvents.FAILED, MailBuilds.OWN)


def test_a_rule_is_recorded_if_it_changes() -> None:
    rule.when(change).then(changed)
    rule.given(changed).when(change).then()
    rule.when(reset).then()
    rule.given(changed).when(reset).then(changed.replace(events=MailEvents.FAILED, builds=MailBuilds.OWN))


def test_a_deleted_rule_stays_deleted() -> None:
    rule.given(changed).when(DeleteMailRule(3, 5)).then(deleted)
    rule.given(changed, deleted).when(DeleteMailRule(3, 5)).then()
    rule.given(changed, deleted).when(change).then_refused("PROJECT_NOT_FOUND")
