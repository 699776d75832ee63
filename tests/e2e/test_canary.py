"""Secrets that a script prints in every way it can think of are looked for everywhere, and found nowhere but sealed."""

import re
from pathlib import Path
from uuid import uuid4

from nats.aio.client import Client

from tests.support.leaks import Leaks
from tests.support.live_events import listening
from tests.support.repositories import sample_repository
from tests.support.stack import RunningStack, until

TOKEN = f"canary+{uuid4().hex}/{uuid4().hex}~~"
LINES = "\n".join(f"line {number} of a canary {uuid4().hex}" for number in range(3))
KEY_BODY = f"{uuid4().hex}{uuid4().hex}\n{uuid4().hex}"
KEY = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{KEY_BODY}\n-----END OPENSSH PRIVATE KEY-----\n"
PASSWORD = f"Canary-{uuid4().hex}"
VARIABLE = f"canary-of-an-executor-{uuid4().hex}"
LOUD = r"""
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


async def test_a_canary_is_found_nowhere_but_sealed(stack: RunningStack, nats: Client, tmp_path: Path) -> None:
    leaks = Leaks([TOKEN, LINES, KEY_BODY, PASSWORD, VARIABLE])
    email = f"{uuid4().hex}@example.org"
    developer = stack.made(
        "developer", username=f"eve-{uuid4().hex[:8]}", password=PASSWORD, email=email, roles=["ROLE_DEVELOPER"]
    )
    secrets = [
        stack.made("secret", name="CANARY_TOKEN", value=TOKEN),
        stack.made("secret", name="CANARY_LINES", value="x"),
    ]
    changed = stack.admin.patch(f"/admin/secrets/{secrets[1]['id']}/value", json={"secret": {"value": LINES}})
    credential = stack.made("credential", name="canary", ssh_key=KEY)
    executor = stack.made("executor", name="canary", driver="openStackDriver")
    variables = {"executor": {"variables": {"OS_PASSWORD": VARIABLE}}}
    assert stack.admin.patch(f"/admin/executors/{executor['id']}/variables", json=variables).status_code == 200
    assert changed.json()["value"] == LINES
    project_id = stack.project(
        sample_repository(tmp_path / "repository", {"build": LOUD, "test": f"{LOUD}false\n"}),
        secrets_id=[secret["id"] for secret in secrets],
        developers_id=[developer["id"]],
        repository_credential_id=credential["id"],
        executor_id=executor["id"],
    )
    eve = stack.log_in(developer["username"], PASSWORD)
    with leaks.in_command_lines() as command_lines:
        executor_id = stack.launch(project_id, client=eve)
        while not stack.build(executor_id).get("completed_at"):
            leaks.look("live log", eve.get(f"/developer/logs/{executor_id}/build/0").text)
        build = stack.finished(executor_id)
    assert build["exit_code"] == 2000
    assert any("headrace_open" in line for line in command_lines)
    log = stack.log(build["id"])
    assert log["build"].count("[MASKED]") > 12
    assert log["build"].splitlines()[-1] == "over"

    # what only an administrator may see is asked for, so that it has every chance to leave something behind
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
    answers = [eve.get(address.removeprefix("/api")) for address in addresses]
    for answer in answers:
        leaks.look(f"GET {answer.url}", answer.text + str(answer.headers))
    assert len([answer for answer in answers if answer.status_code == 200]) > 15
    assert not [answer for answer in answers if answer.status_code >= 500]
    with listening(eve, **SINCE_THE_BEGINNING) as reader:
        until(lambda: "BuildFinished" in reader.names(build["id"]))
        leaks.look("live events", str(reader.seen))
    eve.close()

    databases = leaks.in_documents(stack.mongodb_url)
    streams = await leaks.in_messages(nats)
    leaks.in_files(stack.data, tmp_path / "needles")
    assert databases >= {f"headrace_{name}" for name in ("identity", "projects", "builds", "runners", "notifications")}
    assert streams >= {"identity", "projects", "builds", "runners", "notifications"}
    assert leaks.found == []


async def test_what_is_no_secret_is_found_by_the_same_search(stack: RunningStack, nats: Client, tmp_path: Path) -> None:
    name = f"no-canary-{uuid4().hex}"
    leaks = Leaks([name])
    project_id = stack.project("/nowhere", name=name)
    stack.run(project_id)
    leaks.in_documents(stack.mongodb_url)
    await leaks.in_messages(nats)
    leaks.in_files(stack.data, tmp_path / "needles")
    places = " ".join(leaks.found)
    assert "headrace_projects.commits" in places
    assert "local.oplog.rs" in places
    assert "stream builds" in places
    assert "/nats/jetstream/" in places
