"""The declaration of the notifications service."""

from collections.abc import Sequence
from functools import partial

from contracts.builds import BuildFinished, BuildStarted, GetBuild, GetPreviousResult, GetProjectAccess
from contracts.identity import GetCompany, GetUser, UserDeleted
from contracts.notifications import (
    ChangeMailRule,
    ChangeReceiver,
    CreateReceiver,
    GetMailRule,
    GetReceiver,
    ListNotifications,
    ListOutgoing,
    ListReceivers,
    NotificationRequested,
    NotificationStatus,
    OutgoingRequested,
    ReceiverDeleted,
    RepeatOutgoing,
    SendTestMail,
)
from contracts.projects import GetForge, GetLaunchSettings, ProjectDeleted
from libs.service.declaration import CommandFlow, Expiry, Handler, Policy, Service, Worker
from services.notifications.attempts import RETRY_DELAYS_SECONDS
from services.notifications.authorization import authorize
from services.notifications.commands import prepare_test_mail
from services.notifications.mail_delivery import deliver_mail
from services.notifications.mail_rules import mail_rule_commands
from services.notifications.mail_rules.mail_rule_projection import mail_rule_category
from services.notifications.mail_rules.rule_mails import request_rule_mails
from services.notifications.metrics import create_recorder
from services.notifications.outgoing.build_statuses import STATE_CHANGES, request_status
from services.notifications.outgoing.outgoing_delivery import deliver_request
from services.notifications.outgoing.outgoing_projection import outgoing_category
from services.notifications.outgoing.outgoing_queries import list_outgoing
from services.notifications.outgoing.turns import TURNS_COLLECTION
from services.notifications.policies import on_build_finished
from services.notifications.projections import notification_category
from services.notifications.queries import list_notifications
from services.notifications.receivers import receiver_commands, receiver_queries, receiver_requests
from services.notifications.receivers.build_occasions import request_notifications
from services.notifications.receivers.receiver_projection import receiver_category

# requests that a replica sends at a time; a server that does not answer occupies one of them for ten seconds
SENDER_COUNT = 8


def create_service(retry_delays: Sequence[float] = RETRY_DELAYS_SECONDS) -> Service:
    return Service(
        "notifications",
        categories=(notification_category, outgoing_category, receiver_category, mail_rule_category),
        command_flows=(
            CommandFlow(SendTestMail, prepare_test_mail),
            CommandFlow(ChangeMailRule, mail_rule_commands.prepare_mail_rule, answer=mail_rule_commands.show_mail_rule),
            CommandFlow(CreateReceiver, receiver_commands.prepare_receiver),
            CommandFlow(ChangeReceiver, receiver_commands.prepare_receiver_change),
            CommandFlow(RepeatOutgoing, receiver_requests.prepare_repetition, answer=receiver_requests.show_repetition),
        ),
        handlers=(
            Handler(ListNotifications, list_notifications),
            Handler(ListOutgoing, list_outgoing),
            Handler(GetMailRule, mail_rule_commands.get_mail_rule),
            Handler(GetReceiver, receiver_queries.get_receiver),
            Handler(ListReceivers, receiver_queries.list_receivers),
        ),
        authorize=authorize,
        outgoing=(GetBuild, GetCompany, GetForge, GetLaunchSettings, GetPreviousResult, GetProjectAccess, GetUser),
        policies=(Policy("builds", on_build_finished),),
        expiries=tuple(
            Expiry(
                category,
                "requested_at",
                lambda settings: settings.retention.notification_days,
                {"status": {"$ne": NotificationStatus.REQUESTED}},
                lambda settings: settings.retention.notification_count,
            )
            for category in (notification_category, outgoing_category)
        ),
        event_recorder=create_recorder,
        workers=(
            Worker("mailer", "notifications", (NotificationRequested,), partial(deliver_mail, retry_delays)),
            Worker("build-statuses", "builds", STATE_CHANGES, request_status),
            Worker("mail-rules", "builds", (BuildFinished,), request_rule_mails),
            Worker("delete_mail_rules", "projects", (ProjectDeleted,), mail_rule_commands.delete_rules_of_project),
            Worker("forget_users", "identity", (UserDeleted,), mail_rule_commands.delete_rules_of_user),
            Worker[BuildStarted | BuildFinished](
                "receivers", "builds", (BuildStarted, BuildFinished), request_notifications
            ),
            Worker(
                "sender",
                "notifications",
                (OutgoingRequested,),
                partial(deliver_request, retry_delays),
                concurrency=SENDER_COUNT,
            ),
            Worker("erase_deleted", "notifications", (ReceiverDeleted,), receiver_commands.shred_receiver_key),
            Worker("project_receivers", "projects", (ProjectDeleted,), receiver_commands.delete_receivers_of_project),
        ),
        ttl_collections={TURNS_COLLECTION: "until"},
    )


service = create_service()
