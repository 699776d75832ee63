"""Distribution of tests over pytest workers: the tests of a group run on one worker, and the longest groups first.

A group is a test file, or a folder whose files share a server or another expensive fixture.
"""

import json
import os
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from infra.local import ports

ROOT = Path(__file__).parents[2]
DURATIONS = Path(__file__).with_name("durations.json")  # seconds by test file, written by DurationRecorder
UNKNOWN_SECONDS = 10.0  # assumed for a file without a recorded duration
# Folders whose files use one stack, so they form one group. The console's tests start a stack of their own: together
# with the others they would take half of a run.
SHARED_STACKS = ("tests/e2e/shared_stack/console/", "tests/e2e/shared_stack/")


def file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


@cache
def shares_fixtures(folder: str) -> bool:
    """Return whether the folder's conftest.py has fixtures of the scope `package`, which its files share."""
    conftest = ROOT / folder / "conftest.py"
    return conftest.exists() and 'scope="package"' in conftest.read_text()


def group_of(file: str) -> str:
    for folder in SHARED_STACKS:
        if file.startswith(folder):
            return folder
    folder = file.rpartition("/")[0]
    return folder if shares_fixtures(folder) else file


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Assigns whole groups to workers, in the order of the sorted tests."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(file_of(nodeid))


def make_scheduler(config: pytest.Config, log: Producer) -> GroupScheduling:
    config.option.loadscopereorder = False
    return GroupScheduling(config, log)


def sort_longest_first(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort the groups so that the longest one comes first. Without workers, pytest's order is kept.

    Within a group, pytest's order is always kept: it creates a shared fixture once for each parameter of the fixture.
    """
    if not hasattr(config, "workerinput"):
        return
    groups = defaultdict[str, list[pytest.Item]](list)
    for item in items:
        groups[group_of(file_of(item.nodeid))].append(item)
    recorded: dict[str, float] = json.loads(DURATIONS.read_text()) if DURATIONS.exists() else {}
    seconds = {
        group: sum(
            recorded.get(file, UNKNOWN_SECONDS) for file in dict.fromkeys(file_of(item.nodeid) for item in members)
        )
        for group, members in groups.items()
    }
    order = sorted(groups, key=lambda group: (-seconds[group], group))
    items[:] = [item for group in order for item in groups[group]]


def limit_ports(config: pytest.Config) -> None:
    """Give each worker a port range of its own. Processes that its tests start read the range from the environment."""
    if worker := getattr(config, "workerinput", None):
        size = ports.PORT_COUNT // int(worker["workercount"])
        first = ports.FIRST_PORT + size * int(str(worker["workerid"]).removeprefix("gw"))
        os.environ[ports.PORT_RANGE_VARIABLE] = f"{first}-{first + size - 1}"


class DurationRecorder:
    """Sums the durations of the tests of each file.

    After the run it writes the sums to the file that TEST_DURATIONS names.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._seconds = defaultdict[str, float](float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[file_of(report.nodeid)] += report.duration

    def pytest_sessionfinish(self) -> None:
        rounded = {file: round(seconds, 1) for file, seconds in sorted(self._seconds.items())}
        self._target.write_text(json.dumps(rounded, indent=1) + "\n")


def record_durations(config: pytest.Config) -> None:
    if (target := os.environ.get("TEST_DURATIONS")) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(DurationRecorder(Path(target)))
