"""Messages about mail rules: the builds of a project about which a user gets mails."""

from enum import StrEnum

from contracts.messages import ChangedFields, Command, Event, Message, Query


class MailEvents(StrEnum):
    """The results of builds about which a user gets mails."""

    FAILED = "failed"  # failed and killed builds
    FIXED = "fixed"  # failed and killed builds, and successes after a failure of the same ref
    ALWAYS = "always"  # all finished builds
    NEVER = "never"


class MailBuilds(StrEnum):
    """The builds about which a user gets mails."""

    OWN = "own"  # builds that the user launched
    ALL = "all"


class ChangeMailRule(ChangedFields, Command):
    """Change the actor's mail rule of a project. A missing field is unchanged, None is the default, `failed` or `own`.

    Answer: MailRuleView. Errors: PROJECT_NOT_FOUND, and FORBIDDEN if the actor is not a user.
    """

    project_id: int
    events: MailEvents | None = None
    builds: MailBuilds | None = None


class GetMailRule(Query):
    """Get the actor's mail rule of a project, or the default rule. Answer: MailRuleView. Errors: PROJECT_NOT_FOUND."""

    project_id: int


class MailRuleView(Message):
    project_id: int
    events: MailEvents
    builds: MailBuilds


class MailRuleChanged(Event):
    project_id: int
    user_id: int
    events: MailEvents
    builds: MailBuilds


class MailRuleDeleted(Event):
    """A mail rule was deleted, because the project or the user was deleted."""

    project_id: int
    user_id: int


MailRuleEvent = MailRuleChanged | MailRuleDeleted
