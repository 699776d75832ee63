"""Routes of webhooks and their deliveries."""

from contracts.projects import GetDelivery, ListDeliveries
from gateway.adapters import forge_webhooks
from gateway.framework.route_table import own, query
from gateway.routes.route_builders import list_page

WEBHOOKS = (
    own(
        "POST",
        "/guest/webhooks/build/{project_id:id}",
        forge_webhooks.receive_webhook,
        status=201,
        also=200,
        raw=forge_webhooks.MAX_BODY_BYTES,
        write=forge_webhooks.RECEIPT,
        errors=forge_webhooks.ERROR_CODES,
        headers=forge_webhooks.HEADER_DESCRIPTIONS,
    ),
    list_page("/admin/projects/{project_id:id}/deliveries", ListDeliveries, forge_webhooks.DELIVERY_PAGE),
    query(
        "/admin/deliveries/{delivery_id}",
        GetDelivery,
        write=forge_webhooks.ONE_DELIVERY,
        errors=("DELIVERY_NOT_FOUND",),
    ),
)
