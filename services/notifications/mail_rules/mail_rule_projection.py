"""The read model of mail rules, and their category."""

from contracts.messages import ReadModelRow
from contracts.notifications import MailBuilds, MailEvents, MailRuleChanged, MailRuleDeleted, MailRuleEvent
from libs.eventstore.decider import Category, RecordedEvent
from services.notifications.domain.mail_rule import mail_rule_decider


class MailRuleRow(ReadModelRow):
    id: str = ""  # <project>-<user>
    project_id: int = 0
    user_id: int = 0
    events: MailEvents = MailEvents.FAILED
    builds: MailBuilds = MailBuilds.OWN


def apply_mail_rule_event(_row: MailRuleRow, recorded: RecordedEvent[MailRuleEvent]) -> MailRuleRow:
    match recorded.event:
        case MailRuleChanged(project_id=project_id, user_id=user_id, events=events, builds=builds):
            id_ = f"{project_id}-{user_id}"
            return MailRuleRow(id=id_, project_id=project_id, user_id=user_id, events=events, builds=builds)
        case MailRuleDeleted():
            return MailRuleRow()


mail_rule_category = Category(
    "mailrule",
    mail_rule_decider,
    MailRuleRow(),
    apply_mail_rule_event,
    indexes=(("project_id", "id"), ("user_id", "id")),
    is_deleted=lambda row: row.project_id == 0,
    is_removable=True,
)
