"""Indexes of a service's database: of its event log, rows, projections and other collections."""

from collections.abc import Iterator

from libs.eventstore.indexes import Index
from libs.eventstore.mongo import INDEXES
from libs.privacy.redaction import list_name_indexes
from libs.projections.projector import projection_collection
from libs.projections.read_model import HAS_TEXT, HAS_TIME, ROW_EXISTS
from libs.service.declaration import AnyProjection, Service


def list_indexes(service: Service) -> Iterator[Index]:
    yield from INDEXES
    yield from list_name_indexes(service.name)
    for category in service.categories:
        field, version_field = category.row_field, category.row_version_field
        outdated = {version_field: {"$lt": category.row_version}}
        yield Index("streams", (version_field,), {"partialFilterExpression": outdated})
        special = {category.time_index_field: HAS_TIME, category.sparse_index_field: HAS_TEXT}
        for index in category.indexes:
            # partial, because deleted streams and other categories have no row; MongoDB cannot sort by a sparse index
            names = [name.removeprefix("-") for name in index]
            filters = ({_prefix_field(field, name): special[name]} for name in names if name in special)
            condition = next(filters, {field: ROW_EXISTS})
            fields = tuple(_prefix_field(field, name) for name in index)
            yield Index("streams", fields, {"partialFilterExpression": condition})
    for projection in service.projections:
        yield from list_projection_indexes(projection, projection_collection(projection))
    for collection, indexes in service.indexes.items():
        for index in indexes:
            yield Index(collection, index)
    for collection, index in service.unique_indexes.items():
        yield Index(collection, index, {"unique": True})
    for collection, expiry_field in service.ttl_collections.items():
        yield Index(collection, (expiry_field,), {"expireAfterSeconds": 0})


def list_projection_indexes(projection: AnyProjection, collection: str) -> Iterator[Index]:
    """Yield the indexes of a projection. A rebuild creates them on its staging collection."""
    for index in projection.indexes:
        yield Index(collection, tuple(_prefix_field("row", name) for name in index))


def _prefix_field(field: str, name: str) -> str:
    """Prefix a row field name with the row's field, keeping the "-" of a descending order."""
    direction = "-" if name.startswith("-") else ""
    return f"{direction}{field}.{name.removeprefix('-')}"
