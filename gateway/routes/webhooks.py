"""Webhooks of forges, and what became of their deliveries."""

from contracts.projects import GetDelivery, PageDeliveries
from gateway.dialects import webhooks
from gateway.routes.patching import page
from gateway.routing import own, query

WEBHOOKS = (
    own(
        "POST",
        "/guest/webhooks/build/{project_id:id}",
        webhooks.receive_delivery,
        status=201,
        also=200,
        raw=webhooks.LARGEST,
        write=webhooks.RECEIPT,
        errors=webhooks.ERRORS,
        headers=webhooks.HEADERS,
    ),
    page("/admin/projects/{project_id:id}/deliveries", PageDeliveries, webhooks.DELIVERY_PAGE),
    query("/admin/deliveries/{delivery_id}", GetDelivery, write=webhooks.ONE_DELIVERY, errors=("DELIVERY_NOT_FOUND",)),
)
