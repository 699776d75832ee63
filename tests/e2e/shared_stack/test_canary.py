"""Secrets that a build script prints in many encodings are neither stored nor sent in plaintext."""

import re
from pathlib import Path
from uuid import uuid4

from nats.aio.client import Client

from tests.support.external.repositories import create_sample_repository
from tests.support.stacks.leak_search import LeakSearch
from tests.support.stacks.live_events import reading_live_events
from tests.support.stacks.running_stack import RunningStack
from tests.support.waiting import wait_until

TOKEN = f"canary+{uuid4().hex}/{uuid4().hex}~~"
LINES = "\n".join(f"line {number} of a canary {uuid4().hex}" for number in range(3))
KEY_BODY = f"{uuid4().hex}{uuid4().hex}\n{uuid4().hex}"
KEY = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{KEY_BODY}\n-----END OPENSSH PRIVATE KEY-----\n"
PASSWORD = f"Canary-{uuid4().hex}"
VARIABLE = f"canary-of-an-executor-{uuid4().hex}"
PRINTING_SCRIPT = r"""
echo "raw $CANARY_TOKEN"
echo "twice $CANARY_TOKEN$CANARY_TOKEN" >&2
echo "$CANARY_TOKEN" | rev | rev
printf '%s' "$CANARY_TOKEN" | base64 -w0; echo
printf '%s' "$CANARY_TOKEN" | base64 -w0 | tr '+/' '-_'; echo
printf 'user:%s' "$CANARY_TOKEN" | base64 -w0; echo
printf 'x%s:y' "$CANARY_TOKEN" | base64 -w0; echo
printf '%s' "${CANARY_TOKEN:0:9}"; sleep 0.5; echo "${CANARY_TOKEN:9}"
echo "$CANARY_LINES"
printf '%s' "$CANARY_LINES" | base64 -w0; echo
printf '%s' "$CANARY_LINES" | base64
base64 < "$HEADRACE_SSH_KEY"
cat "$HEADRACE_SSH_KEY"
env
set -x; : "$CANARY_TOKEN" "$CANARY_LINES"; set +x
bash -c 'echo "$CANARY_TOKEN"'
section="section_start:1700000000:$CANARY_TOKEN"; printf '%s\r\033[0K\n' "$section"
echo over
"""
SINCE_THE_BEGINNING = {"Last-Event-ID": "b0-r0"}


async def test_secrets_are_stored_only_encrypted(stack: RunningStack, nats_client: Client, tmp_path: Path) -> None:
    leaks = LeakSearch([TOKEN, LINES, KEY_BODY, PASSWORD, VARIABLE])
    email = f"{uuid4().hex}@example.org"
    developer = stack.create(
        "developer", username=f"eve-{uuid4().hex[:8]}", password=PASSWORD, email=email, roles=["ROLE_DEVELOPER"]
    )
    secrets = [
        stack.create("secret", name="CANARY_TOKEN", value=TOKEN),
        stack.create("secret", name="CANARY_LINES", value="x"),
    ]
    changed = stack.admin.patch(f"/admin/secrets/{secrets[1]['id']}/value", json={"secret": {"value": LINES}})
    credential = stack.create("credential", name="canary", ssh_key=KEY)
    executor = stack.create("executor", name="canary", driver="openStackDriver")
    variables = {"executor": {"variables": {"OS_PASSWORD": VARIABLE}}}
    assert stack.admin.patch(f"/admin/executors/{executor['id']}/variables", json=variables).status_code == 200
    assert changed.json()["value"] == LINES
    project_id = stack.create_project(
        create_sample_repository(
            tmp_path / "repository", {"build": PRINTING_SCRIPT, "test": f"{PRINTING_SCRIPT}false\n"}
        ),
        secrets_id=[secret["id"] for secret in secrets],
        developers_id=[developer["id"]],
        repository_credential_id=credential["id"],
        executor_id=executor["id"],
    )
    eve = stack.sign_in(developer["username"], PASSWORD)
    with leaks.watch_command_lines() as command_lines:
        executor_id = stack.launch_build(project_id, client=eve)
        while not stack.get_build(executor_id).get("completed_at"):
            leaks.search("live log", eve.get(f"/developer/logs/{executor_id}/build/0").text)
        build = stack.wait_until_finished(executor_id)
    assert build["exit_code"] == 2000
    assert any("headrace_open" in line for line in command_lines)
    log = stack.read_log(build["id"])
    assert log["build"].count("[MASKED]") > 12
    assert log["build"].splitlines()[-1] == "over"

    # the administrator's own reads must leave no copy either
    assert stack.admin.get(f"/admin/secrets/{secrets[0]['id']}").json()["value"] == TOKEN
    assert stack.admin.get(f"/admin/credentials/{credential['id']}").json()["ssh_key"].strip() == KEY.strip()

    known = {
        "project_id": project_id,
        "build_id": build["id"],
        "secret_id": secrets[0]["id"],
        "credential_id": credential["id"],
        "user_id": developer["id"],
        "executor_id": executor["id"],
        "step": "init",
        "line_number": 0,
    }
    paths = [path for path, methods in stack.admin.get("/openapi.json").json()["paths"].items() if "get" in methods]
    addresses = [
        re.sub(r"\{(\w+)\}", lambda name: str(known.get(name[1], 1)), path) for path in paths if path != "/api/events"
    ]
    responses = [eve.get(address.removeprefix("/api")) for address in addresses]
    for response in responses:
        leaks.search(f"GET {response.url}", response.text + str(response.headers))
    assert len([response for response in responses if response.status_code == 200]) > 15
    assert not [response for response in responses if response.status_code >= 500]
    with reading_live_events(eve, **SINCE_THE_BEGINNING) as reader:
        wait_until(lambda: "BuildFinished" in reader.event_names_of_build(build["id"]))
        leaks.search("live events", str(reader.events))
    eve.close()

    databases = leaks.search_documents(stack.mongodb_url)
    streams = await leaks.search_messages(nats_client)
    leaks.search_files(stack.data, tmp_path / "needles")
    assert databases >= {f"headrace_{name}" for name in ("identity", "projects", "builds", "runners", "notifications")}
    assert streams >= {"identity", "projects", "builds", "runners", "notifications"}
    assert leaks.findings == []


async def test_the_leak_search_finds_values_that_are_not_secret(
    stack: RunningStack, nats_client: Client, tmp_path: Path
) -> None:
    name = f"no-canary-{uuid4().hex}"
    leaks = LeakSearch([name])
    project_id = stack.create_project("/nowhere", name=name)
    stack.run_build(project_id)
    leaks.search_documents(stack.mongodb_url)
    await leaks.search_messages(nats_client)
    leaks.search_files(stack.data, tmp_path / "needles")
    locations = " ".join(leaks.findings)
    assert "headrace_projects.commits" in locations
    assert "local.oplog.rs" in locations
    assert "stream builds" in locations
    assert "/nats/jetstream/" in locations
