"""The migration removes what neither this release nor the previous one reads."""

from dataclasses import replace

from libs.documents import Document
from libs.eventstore.decider import PreviousRow
from libs.projections.obsolete_data import remove_obsolete_data
from libs.subscriptions.checkpoints import CHECKPOINTS
from tests.integration.libs.service.counter_service import CounterService
from tests.support.counters.app import create_service, totals
from tests.support.counters.domain import counters

# this release reads version 3 and the previous one version 2
CATEGORY = replace(counters, row_version=3, previous_row=PreviousRow(2, lambda row: row))
SERVICE = replace(
    create_service(), categories=(CATEGORY,), projections=(replace(totals, version=3, previous_version=2),)
)
VERSIONS = (1, 2, 3, 4)


async def test_only_versions_that_no_supported_release_reads_are_removed(counter_service: CounterService) -> None:
    database = counter_service.database
    rows = {f"counter_v{version}": {"label": "a"} for version in VERSIONS}
    await database["streams"].insert_one({"_id": "counter-1", "version": 1, **rows})
    for version in VERSIONS:
        if version > 1:  # the fixture has created the index of version 1
            await database["streams"].create_index(f"counter_v{version}.label")
        await database[f"view_totals_v{version}"].insert_one({"_id": "a"})
        await database[CHECKPOINTS].insert_one({"_id": f"view_totals_v{version}"})
    assert await remove_obsolete_data(SERVICE, database) == [
        "index counter_v1.label_1 of counters removed",
        "index counter_v1.value_-1 of counters removed",
        "older rows of counters.counter removed: 1",
        "collection view_totals_v1 of counters removed",
    ]
    left: Document | None = await database["streams"].find_one({"_id": "counter-1"})
    assert left is not None
    assert [version for version in VERSIONS if f"counter_v{version}" in left] == [2, 3, 4]
    indexes = await database["streams"].index_information()
    assert [version for version in VERSIONS if f"counter_v{version}.label_1" in indexes] == [2, 3, 4]
    names = await database.list_collection_names()
    checkpoints = [document["_id"] async for document in database[CHECKPOINTS].find({})]
    assert [version for version in VERSIONS if f"view_totals_v{version}" in names] == [2, 3, 4]
    assert [version for version in VERSIONS if f"view_totals_v{version}" in checkpoints] == [2, 3, 4]
    assert await remove_obsolete_data(SERVICE, database) == []
