"""The declaration of the notifications service."""

from collections.abc import Sequence
from functools import partial

from contracts.builds import GetBuild, GetProjectAccess
from contracts.identity import GetUser
from contracts.notifications import (
    ListNotifications,
    ListOutgoing,
    NotificationRequested,
    NotificationStatus,
    OutgoingRequested,
    SendTestMail,
)
from contracts.projects import GetForge
from libs.service.declaration import CommandFlow, Expiry, Handler, Policy, Service, Worker
from services.notifications.commands import prepare_test_mail
from services.notifications.mail_delivery import RETRY_DELAYS_SECONDS, deliver_mail
from services.notifications.metrics import create_recorder
from services.notifications.outgoing.build_statuses import STATE_CHANGES, request_status
from services.notifications.outgoing.outgoing_delivery import deliver_request
from services.notifications.outgoing.outgoing_projection import outgoing_category
from services.notifications.outgoing.outgoing_queries import authorize, list_outgoing
from services.notifications.outgoing.turns import TURNS_COLLECTION
from services.notifications.policies import on_build_finished
from services.notifications.projections import notification_category
from services.notifications.queries import list_notifications


def create_service(retry_delays: Sequence[float] = RETRY_DELAYS_SECONDS) -> Service:
    return Service(
        "notifications",
        categories=(notification_category, outgoing_category),
        command_flows=(CommandFlow(SendTestMail, prepare_test_mail),),
        handlers=(Handler(ListNotifications, list_notifications), Handler(ListOutgoing, list_outgoing)),
        authorize=authorize,
        outgoing=(GetBuild, GetForge, GetProjectAccess, GetUser),
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
            Worker("sender", "notifications", (OutgoingRequested,), partial(deliver_request, retry_delays)),
        ),
        ttl_collections={TURNS_COLLECTION: "until"},
    )


service = create_service()
