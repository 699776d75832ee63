"""The indexes that a service's database has, derived from the declaration of the service."""

from collections.abc import Iterator

from libs.eventstore.mongo import INDEXES
from libs.indexes import Index
from libs.rows import DATED, NAMED, PRESENT
from libs.service import FollowedView, Service
from libs.views import view_collection


def indexes_of(service: Service) -> Iterator[Index]:
    yield from INDEXES
    for category in service.categories:
        field, written = category.row_field, category.written_field
        yield Index("streams", (written,), {"partialFilterExpression": {written: {"$lt": category.row_version}}})
        for index in category.indexes:
            # only where there is a row, as deleted streams and other categories have none; a sparse one would not sort
            names = [name.removeprefix("-") for name in index]
            special = {category.dated: DATED, category.named: NAMED}
            only = next(({_below(field, name): special[name]} for name in names if name in special), {field: PRESENT})
            yield Index("streams", tuple(_below(field, name) for name in index), {"partialFilterExpression": only})
    for view in service.views:
        yield from indexes_of_view(view, view_collection(view))
    for collection, indexes in service.indexes.items():
        for index in indexes:
            yield Index(collection, index)
    for collection, index in service.unique_indexes.items():
        yield Index(collection, index, {"unique": True})
    for collection, ends in service.passing.items():
        yield Index(collection, (ends,), {"expireAfterSeconds": 0})


def indexes_of_view(view: FollowedView, collection: str) -> Iterator[Index]:
    """A view is rebuilt in a collection of another name, with the same indexes."""
    for index in view.indexes:
        yield Index(collection, tuple(_below("row", name) for name in index))


def _below(field: str, name: str) -> str:
    descending = name.startswith("-")
    return f"{'-' if descending else ''}{field}.{name.removeprefix('-')}"
