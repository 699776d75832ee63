"""Background probes of dependencies: when a process becomes unready, and when it is ready again."""

import asyncio

import pytest

from libs.observability import probes
from libs.observability.probes import Probe, run_probes
from tests.support.waiting import eventually


class Dependency:
    def __init__(self) -> None:
        self.responding = asyncio.Event()
        self.responding.set()
        self.failure: Exception | None = None

    async def query(self) -> None:
        if self.failure:
            raise self.failure
        await self.responding.wait()


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROBE_INTERVAL_SECONDS", "PROBE_RETRY_SECONDS", "PROBE_TIMEOUT_SECONDS"):
        monkeypatch.setattr(probes, name, 0.02)
    monkeypatch.setattr(probes, "MAX_RESULT_AGE_SECONDS", 0.2)


async def test_timeouts_and_failures_are_reasons_until_the_next_success() -> None:
    dependency = Dependency()
    probe = Probe("NATS", dependency.query)

    async def says(part: str | None) -> bool:
        reason = await probe.find_problem()
        return reason is None if part is None else reason is not None and part in reason

    assert await says("NATS has not responded yet")
    async with run_probes(probe):
        assert await says(None)
        dependency.responding.clear()
        await eventually(lambda: says("NATS has not responded for"))
        dependency.responding.set()
        await eventually(lambda: says(None))
        dependency.failure = ConnectionRefusedError("nats://u:canary@host")
        await eventually(lambda: says("NATS is not reachable (ConnectionRefusedError)"))
        dependency.failure = None
        await eventually(lambda: says(None))


async def test_one_late_answer_does_not_make_a_process_unready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "MAX_RESULT_AGE_SECONDS", 60.0)
    dependency = Dependency()
    probe = Probe("MongoDB", dependency.query)
    async with run_probes(probe):
        dependency.responding.clear()
        await probe.run_once()
        assert await probe.find_problem() is None
