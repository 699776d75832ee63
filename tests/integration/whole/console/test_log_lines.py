"""The log of a job: lines by position, and the stream that many clients follow."""

import asyncio
import json
from collections.abc import AsyncIterator

from contracts.builds import GetLogLines
from gateway.streaming import log_reader
from tests.integration.whole.console.project_runners import register_project_runner
from tests.support.in_process.build_system import Body, BuildSystem, FakeRunner
from tests.support.waiting import eventually


async def start_job(system: BuildSystem) -> tuple[FakeRunner, Body]:
    project = await system.create_project()
    runner = await register_project_runner(system, project)
    await system.launch_build(project)
    job = await runner.wait_for_job()
    await runner.report(job, "running")
    return runner, job


async def append(system: BuildSystem, job: Body, offset: int, text: str) -> int:
    """Append to the job's log. Return the offset of the next part."""
    content = text.encode()
    headers = {"JOB-TOKEN": job["token"], "Content-Range": f"{offset}-{offset + len(content) - 1}"}
    response = await system.http.patch(f"/api/v4/jobs/{job['id']}/trace", headers=headers, content=content)
    assert response.status_code == 202, response.text
    return offset + len(content)


async def read_lines(system: BuildSystem, job: Body, **query: int) -> Body:
    return dict(await system.get(f"/api/developer/jobs/{job['id']}/log/lines", params=query))


def text_of(page: Body) -> list[str]:
    return [line for chunk in page["chunks"] for line in chunk["lines"]]


async def error_of(system: BuildSystem, path: str) -> tuple[int, str]:
    response = await system.http.get(path, headers=system.admin)
    return response.status_code, response.json()["message"]


async def test_lines_are_read_from_any_position(system: BuildSystem) -> None:
    runner, job = await start_job(system)
    end = await append(system, job, 0, "".join(f"line {number}\n" for number in range(10)))
    await append(system, job, end, "incomplete")
    page = await read_lines(system, job, **{"from": 3, "limit": 4})
    assert text_of(page) == ["line 3", "line 4", "line 5", "line 6"]
    assert (page["finished"], page["total"], page["more"]) == (False, 10, True)
    assert page["next"] == {"section": 0, "from": 7}
    assert [(time["line"], bool(time["at"])) for time in page["chunks"][0]["times"]] == [(3, True)]
    page = await read_lines(system, job, **page["next"])
    assert (text_of(page), page["more"]) == (["line 7", "line 8", "line 9"], False)
    assert text_of(await read_lines(system, job, tail=2)) == ["line 8", "line 9"]
    await runner.report(job, "success")
    page = await read_lines(system, job, **page["next"])
    assert (text_of(page), page["finished"], page["more"]) == (["incomplete"], True, False)
    assert text_of(await read_lines(system, job, section=7)) == []


async def test_a_page_has_as_much_as_a_message_can_have(system: BuildSystem) -> None:
    _, job = await start_job(system)
    end = 0
    for _ in range(4):
        end = await append(system, job, end, ("x" * 99 + "\n") * 4000)
    read, position, pages = 0, {"section": 0, "from": 0}, 0
    while True:
        page = await read_lines(system, job, limit=10_000, **position)
        read, position, pages = read + len(text_of(page)), page["next"], pages + 1
        if not page["more"]:
            break
    assert (read, pages) == (16_000, 3)


async def test_bad_positions_and_unknown_logs_have_their_codes(system: BuildSystem) -> None:
    _, job = await start_job(system)
    path = f"/api/developer/jobs/{job['id']}/log"
    for bad in ("lines?from=-1", "lines?limit=0", "lines?limit=10001", "lines?section=x", "stream?from=99999999999"):
        assert await error_of(system, f"{path}/{bad}") == (422, "REQUEST_INVALID")
    for route in ("lines", "stream"):
        assert await error_of(system, f"{path}/{route}?attempt=9") == (404, "LOG_NOT_FOUND")
        assert await error_of(system, f"/api/developer/jobs/999999/log/{route}") == (404, "JOB_NOT_FOUND")


async def follow(system: BuildSystem, job: Body, **headers: str) -> AsyncIterator[tuple[str, str, Body]]:
    """Yield (event, id, data) of the stream of a log until it ends."""
    path = f"/api/developer/jobs/{job['id']}/log/stream"
    async with system.http.stream("GET", path, headers={**system.admin, **headers}) as response:
        assert response.status_code == 200
        event: dict[str, str] = {}
        async for line in response.aiter_lines():
            name, _, value = line.partition(": ")
            if name in ("event", "id", "data"):
                event[name] = value
            elif not line and "data" in event:
                yield event["event"], event.get("id", ""), json.loads(event["data"])
                event = {}


async def collect(system: BuildSystem, job: Body, **headers: str) -> list[tuple[str, str, Body]]:
    return [event async for event in follow(system, job, **headers)]


async def test_a_stream_has_the_lines_as_they_arrive_and_ends_with_the_attempt(
    system: BuildSystem,
) -> None:
    runner, job = await start_job(system)
    end = await append(system, job, 0, "first\n")
    readers = [asyncio.create_task(collect(system, job)) for _ in range(3)]
    await eventually(lambda: len(system.gateway.state.log_readers.growth) == 3)
    end = await append(system, job, end, "second\n")
    await append(system, job, end, "third\n")
    await runner.report(job, "success")
    async with asyncio.timeout(60):
        found = await asyncio.gather(*readers)
    await eventually(lambda: len(system.gateway.state.log_readers.growth) == 0)
    for events in found:
        lines = [event for event in events if event[0] == "lines"]
        assert [line for _, _, data in lines for line in text_of(data)] == ["first", "second", "third"]
        assert (events[0][0], events[-1][0]) == ("sections", "end")
        assert lines[-1][1] == f"{lines[-1][2]['attempt']}-0-3"
    resumed = await collect(system, job, **{"Last-Event-ID": lines[-1][1].replace("-0-3", "-0-2")})
    assert [line for name, _, data in resumed if name == "lines" for line in text_of(data)] == ["third"]


async def test_a_user_can_follow_a_limited_number_of_logs(system: BuildSystem) -> None:
    _, job = await start_job(system)
    readers = system.gateway.state.log_readers
    following = [asyncio.create_task(collect(system, job)) for _ in range(log_reader.MAX_READERS_PER_USER)]
    await eventually(lambda: len(readers.growth) == log_reader.MAX_READERS_PER_USER)
    path = f"/api/developer/jobs/{job['id']}/log/stream"
    assert await error_of(system, path) == (429, "TOO_MANY_REQUESTS")
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)
    await eventually(lambda: len(readers.growth) == 0)


async def test_the_log_of_a_waiting_job_is_empty(system: BuildSystem) -> None:
    commit = await system.create_project()
    build_id = await system.launch_build(commit)

    async def jobs() -> list[Body]:
        return list(await system.get(f"/api/developer/builds/{build_id}/jobs"))

    (job,) = await eventually(jobs)
    page = await read_lines(system, job)
    assert (page["attempt"], page["finished"], page["chunks"], page["sections"]) == (0, False, [], [])
    assert GetLogLines(job_id=1).limit == 5000
