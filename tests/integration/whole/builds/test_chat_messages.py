"""Results of builds arrive at the receivers of their project, also when jobs of a build are run again."""

from tests.support.external.notification_receiver import notification_receiver
from tests.support.in_process.build_system import BuildSystem
from tests.support.waiting import eventually


async def test_a_chat_shows_failures_and_fixes(system: BuildSystem) -> None:
    project = await system.create_project(alias="chatty")
    path = f"/api/admin/projects/{project['id']}"
    runner = await system.register_runner(f"/project/{project['owner_alias']}/chatty/runners")

    async def run_build(state: str, texts: int) -> int:
        build_id = await system.launch_build(project)
        await runner.report(await runner.wait_for_job(), state)
        await eventually(lambda: len(chat.requests) == texts)
        return build_id

    with notification_receiver() as chat:
        body = {"receiver": {"kind": "slack", "url": f"{chat.url}/canary"}}
        created = (await system.post(f"{path}/receivers", body, 201)).json()
        first = await run_build("failed", 1)
        second = await run_build("success", 2)
        third = await run_build("failed", 3)
        await system.post(f"/api/developer/builds/{third}/retry", status=204)
        await runner.report(await runner.wait_for_job(), "success")
        await eventually(lambda: len(chat.requests) == 4)
        (row,) = await system.get(f"{path}/receivers")
        listed = (await system.get(f"{path}/outgoing-requests", params={"receiver": created["id"]}))[
            "outgoing_requests"
        ]
    results = ["failed", "succeeded again", "failed", "succeeded again"]
    for text, build_id, result in zip(chat.texts(), (first, second, third, third), results, strict=True):
        assert f"/ui/builds/{build_id}|build {build_id}> {result} (" in text
    assert [request["build_id"] for request in listed] == [third, third, second, first]
    assert (row["last_delivery"]["id"], row["last_delivery"]["build_id"]) == (listed[0]["id"], third)
    assert "canary" not in str((created, row, listed))
