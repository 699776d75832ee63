"""The indexes that a service's database has, derived from the declaration of the service."""

from collections.abc import Iterator

from libs.eventstore.indexes import Index
from libs.eventstore.mongo import INDEXES
from libs.projections.projector import projection_collection
from libs.projections.read_model import HAS_TEXT, HAS_TIME, ROW_EXISTS
from libs.service.declaration import Projection, Service


def list_indexes(service: Service) -> Iterator[Index]:
    yield from INDEXES
    for category in service.categories:
        field, written = category.row_field, category.row_version_field
        yield Index("streams", (written,), {"partialFilterExpression": {written: {"$lt": category.row_version}}})
        for index in category.indexes:
            # only where there is a row, as deleted streams and other categories have none; a sparse one would not sort
            names = [name.removeprefix("-") for name in index]
            special = {category.time_index_field: HAS_TIME, category.sparse_index_field: HAS_TEXT}
            only = next(
                ({_prefix_field(field, name): special[name]} for name in names if name in special), {field: ROW_EXISTS}
            )
            yield Index(
                "streams", tuple(_prefix_field(field, name) for name in index), {"partialFilterExpression": only}
            )
    for view in service.projections:
        yield from list_projection_indexes(view, projection_collection(view))
    for collection, indexes in service.indexes.items():
        for index in indexes:
            yield Index(collection, index)
    for collection, index in service.unique_indexes.items():
        yield Index(collection, index, {"unique": True})
    for collection, ends in service.ttl_collections.items():
        yield Index(collection, (ends,), {"expireAfterSeconds": 0})


def list_projection_indexes(projection: Projection, collection: str) -> Iterator[Index]:
    """A view is rebuilt in a collection of another name, with the same indexes."""
    for index in projection.indexes:
        yield Index(collection, tuple(_prefix_field("row", name) for name in index))


def _prefix_field(field: str, name: str) -> str:
    descending = name.startswith("-")
    return f"{'-' if descending else ''}{field}.{name.removeprefix('-')}"
