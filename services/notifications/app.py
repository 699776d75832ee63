from collections.abc import Sequence
from functools import partial

from contracts.identity import GetUser
from contracts.notifications import ListNotifications, NotificationRequested, SendTestMail
from libs.service.declaration import CommandFlow, Handler, Service, Worker
from services.notifications.commands import prepare_test_mail
from services.notifications.mail_delivery import RETRY_DELAYS_SECONDS, deliver_mail
from services.notifications.metrics import create_recorder
from services.notifications.policies import on_build_finished
from services.notifications.projections import notification_category
from services.notifications.queries import list_notifications


def create_service(retry_delays: Sequence[float] = RETRY_DELAYS_SECONDS) -> Service:
    return Service(
        "notifications",
        categories=(notification_category,),
        command_flows=(CommandFlow(SendTestMail, prepare_test_mail),),
        handlers=(Handler(ListNotifications, list_notifications),),
        outgoing=(GetUser,),
        policies={"builds": on_build_finished},
        event_recorder=create_recorder,
        workers=(Worker("mailer", "notifications", (NotificationRequested,), partial(deliver_mail, retry_delays)),),
    )


service = create_service()
