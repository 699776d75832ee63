"""A concurrency group in the data of release 0.2.0.

Its row and the state restored from it equal those of a replay, and the next build gets the slot.
"""

from functools import reduce
from pathlib import Path

from contracts.builds import ConcurrencySlotGranted, ConcurrencySlotReleased
from contracts.messages import parse_event
from libs.documents import Document
from libs.eventstore.decider import AnyEvent, RecordedEvent
from libs.eventstore.mapping import read_metadata
from services.builds.domain.concurrency_group import concurrency_group_decider
from services.builds.domain.internal_commands import ReleaseConcurrencySlot
from services.builds.projections import concurrency_group_category, restore_concurrency_group
from tests.releases import dump

STREAM = "lane-7"
FILE = Path(dump.__file__).parent / "0.2.0" / dump.DATABASES_FILE


def test_the_concurrency_group_of_the_previous_release_goes_on() -> None:
    documents: dict[str, list[Document]] = {"commits": [], "streams": []}
    for service, collection, document in dump.read_documents(FILE):
        if service == "builds" and STREAM in (document.get("stream"), document["_id"]) and collection in documents:
            documents[collection].append(document)
    [head] = documents["streams"]
    events: list[AnyEvent] = [
        RecordedEvent(
            STREAM,
            commit["version"],
            index,
            parse_event(stored["name"], stored["version"], stored["data"]),
            read_metadata(commit),
        )
        for commit in sorted(documents["commits"], key=lambda commit: commit["version"])
        for index, stored in enumerate(commit["events"])
    ]
    row = reduce(concurrency_group_category.apply, events, concurrency_group_category.initial_row)
    decider = concurrency_group_decider
    state = reduce(decider.evolve, (recorded.event for recorded in events), decider.initial)
    assert restore_concurrency_group(row) == state
    assert (row.holder, list(row.waiting)) == (head["lane_v1"]["holder"], head["lane_v1"]["waiting"]) == (16, [17])
    assert decider.decide(state, ReleaseConcurrencySlot(7, 16, 5)) == [
        ConcurrencySlotReleased(project_id=7, build_id=16),
        ConcurrencySlotGranted(project_id=7, build_id=17),
    ]
