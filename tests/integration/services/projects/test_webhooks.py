"""Webhooks through two gateways on real services: authentication, build decisions and deduplication."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from contracts.builds import BuildRow, ClaimJob, ClaimResult, GetBuild, RunnerDescription
from contracts.errors import RequestRejected
from contracts.identity import ChangeProviderName, RegisterUser, SetUserEnabled
from contracts.messages import Command, CommandReply
from contracts.projects import (
    ChangeBranch,
    CreateProject,
    DeleteProject,
    Executors,
    GetDeliveryKey,
    GetProject,
    GetWebhookPayload,
    ListExecutors,
    ProjectView,
    RejectWebhook,
    RenewSignatureKey,
)
from infra.service_catalog import load_services
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import MessageClient
from libs.service.connections import create_mongo_client, get_database
from libs.service.declaration import Service
from services.builds.app import service as builds
from services.identity.app import service as identity
from services.projects.app import service as projects
from services.projects.webhooks import rejections
from tests.support import read_stream_messages
from tests.support.external.forge_webhooks import (
    NULL_COMMIT,
    github_headers,
    github_push_body,
    gitlab_headers,
    gitlab_push_body,
    sign,
)
from tests.support.external.repositories import commit_files, create_sample_repository, run_git
from tests.support.in_process.gateway_stage import running_gateway
from tests.support.in_process.stage import ServiceStage, empty_stage
from tests.support.infrastructure.servers import Servers, running_servers
from tests.support.waiting import eventually

ROOT = Actor(1, "root", ("ROLE_ADMIN",))
UNKNOWN_SHA = "1" * 40  # a commit that does not exist
Answer = tuple[int, Any]
RUNNER = RunnerDescription(runner_id=1, runner_uuid="r-1", name="one")


@dataclass(frozen=True)
class WebhookProject:
    """A project and its signature key."""

    id: int
    key: str


@dataclass(frozen=True)
class WebhookStage:
    """Two gateways in front of the same services, and a repository to push to."""

    gateways: tuple[httpx.AsyncClient, ...]
    caller: MessageClient
    bus: Client
    stage: ServiceStage
    repository: Path
    admin: Mapping[str, str]

    async def create(self, command: Command) -> int:
        return int(CommandReply.model_validate_json(await self.caller.send(command, actor=ROOT)).row["id"])

    async def create_user(self, *, roles: tuple[str, ...] = ("ROLE_DEVELOPER",), **names: str) -> int:
        username = f"user-{uuid4().hex[:8]}"
        return await self.create(RegisterUser(username=username, password="millwheel-7", roles=roles, **names))

    async def create_project(self, *developers: int, branch: str = "main") -> WebhookProject:
        (default,) = Executors.model_validate_json(await self.caller.query(ListExecutors())).executors
        wanted = CreateProject(
            name=f"mill {uuid4().hex[:6]}",
            repository=str(self.repository),
            branch=branch,
            spec_file_path="/headrace.yaml",
            allow_concurrent_execution=True,
            executor_id=default.id,
            developers_id=developers,
        )
        return await self.load_project(await self.create(wanted))

    async def load_project(self, project_id: int) -> WebhookProject:
        shown = ProjectView.model_validate_json(await self.caller.query(GetProject(project_id=project_id, reveal=True)))
        return WebhookProject(project_id, shown.signature_key or "")

    async def deliver(self, project_id: int, headers: Mapping[str, str], body: bytes, *, gateway: int = 0) -> Answer:
        path = f"/api/guest/webhooks/build/{project_id}"
        answer = await self.gateways[gateway].post(path, content=body, headers=headers)
        return answer.status_code, answer.json()

    async def list_deliveries(self, project_id: int, **query: str) -> list[dict[str, Any]]:
        path = f"/api/admin/projects/{project_id}/deliveries"
        answer = await self.gateways[0].get(path, headers=self.admin, params=query)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["data"])

    async def get_build(self, executor_id: str) -> BuildRow:
        return BuildRow.model_validate_json(await self.caller.query(GetBuild(executor_id=executor_id)))

    async def list_queued_events(self, project_id: int) -> list[Any]:
        """Return the BuildQueued messages of this project; builds that cannot be planned leave the queue quickly."""
        queued = [
            message
            for message in await read_stream_messages(self.bus, "builds")
            if message.subject.endswith(".BuildQueued")
        ]
        return [message for message in queued if json.loads(message.data)["project_id"] == project_id]

    async def list_delivery_events(self, project_id: int) -> list[str]:
        """Return the names of the events about deliveries of the project."""
        messages = [
            message for message in await read_stream_messages(self.bus, "projects") if ".delivery-" in message.subject
        ]
        mine = [message for message in messages if json.loads(message.data)["project_id"] == project_id]
        return [message.subject.rpartition(".")[2] for message in mine]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return create_sample_repository(tmp_path_factory.mktemp("repository") / "mill")


@asynccontextmanager
async def webhook_stage(
    servers: Servers, repository: Path, data: Path, projects: Service = projects
) -> AsyncIterator[WebhookStage]:
    settings = {"admin_username": "root", "admin_password": "millwheel-7", "local_repositories": True, "data": data}
    async with empty_stage(servers, **settings) as stage:
        await stage.migrate(*load_services())
        async with (
            stage.running(lambda: identity),
            stage.running(lambda: projects, replicas=2),
            running_gateway(stage.settings) as (_, _, first_url),
            running_gateway(stage.settings) as (_, _, second_url),
            httpx.AsyncClient(base_url=first_url, timeout=20) as first,
            httpx.AsyncClient(base_url=second_url, timeout=20) as second,
            stage.connected() as bus,
        ):
            body = {"auth": {"username": "root", "password": "millwheel-7"}}
            token = (await first.post("/api/auth/token", json=body)).json()["access_token"]
            admin = {"Authorization": f"Bearer {token}"}
            yield WebhookStage((first, second), MessageClient(bus), bus, stage, repository, admin)


@pytest.fixture(scope="module")
async def webhooks(
    servers: Servers, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[WebhookStage]:
    data = tmp_path_factory.mktemp("data")
    async with webhook_stage(servers, repository, data) as yard, yard.stage.running(lambda: builds):
        yield yard


def push_body(ref: str = "refs/heads/main", after: str = UNKNOWN_SHA, login: str = "Octo-Ada", **more: Any) -> bytes:
    return github_push_body(after, ref, login, **more)


def ignored_code(answer: Answer) -> str:
    status, body = answer
    assert (status, body["decision"], body["executor_id"]) == (200, "IGNORED", None)
    return str(body["code"])


def error_of(answer: Answer) -> tuple[int, str]:
    return answer[0], answer[1]["message"]


# ---- accepted webhooks


async def test_a_github_push_is_built_at_its_commit_by_its_sender(webhooks: WebhookStage) -> None:
    ada = await webhooks.create_user(github_username="octo-ada")
    project = await webhooks.create_project(ada)
    body = push_body()
    status, answer = await webhooks.deliver(project.id, github_headers(project.key, body), body)
    assert (status, answer["decision"], answer["code"]) == (201, "ACCEPTED", None)
    build = await webhooks.get_build(answer["executor_id"])  # the build is queued before the forge is answered
    assert (build.pinned_sha, build.pinned_ref, build.initiator_id) == (UNKNOWN_SHA, "refs/heads/main", ada)
    [shown] = await webhooks.list_deliveries(project.id)
    assert (shown["decision"], shown["sender"], shown["user_id"]) == ("ACCEPTED", "Octo-Ada", ada)
    assert (shown["executor_id"], shown["ref"], shown["sha"]) == (build.executor_id, "refs/heads/main", UNKNOWN_SHA)
    assert shown["body_size"] == len(body)
    single = await webhooks.gateways[1].get(f"/api/admin/deliveries/{answer['delivery_id']}", headers=webhooks.admin)
    assert single.json() == shown
    await eventually(
        lambda: webhooks.list_delivery_events(project.id), lambda names: names == ["DeliveryAccepted"], within=10
    )


async def test_the_history_of_a_webhook_delivery_and_its_build_names_the_sender(webhooks: WebhookStage) -> None:
    kim = await webhooks.create_user(github_username="octo-kim")
    project = await webhooks.create_project(kim)
    body = push_body(login="octo-kim")
    _, answer = await webhooks.deliver(project.id, github_headers(project.key, body), body)
    build = await webhooks.get_build(answer["executor_id"])
    for path in (f"delivery/{answer['delivery_id']}", f"build/{build.id}"):
        history = (await webhooks.gateways[0].get(f"/api/admin/history/{path}", headers=webhooks.admin)).json()
        assert history["entries"][0]["actor"]["id"] == kim


async def test_a_gitlab_push_is_built_and_the_display_name_is_a_fallback(webhooks: WebhookStage) -> None:
    bob, mallory = (
        await webhooks.create_user(gitlab_username="Tanuki-Bob"),
        await webhooks.create_user(gitlab_username="Bob Builder"),
    )
    project = await webhooks.create_project(bob, mallory)
    for sender, user in (
        ({"user_username": "tanuki-bob", "user_name": "Bob Builder"}, bob),
        ({"user_name": "bob builder"}, mallory),
    ):
        status, answer = await webhooks.deliver(
            project.id, gitlab_headers(project.key), gitlab_push_body(UNKNOWN_SHA, **({"user_username": ""} | sender))
        )
        assert status == 201
        assert (await webhooks.get_build(answer["executor_id"])).initiator_id == user


async def test_an_administrator_triggers_builds_of_every_project_by_webhook(webhooks: WebhookStage) -> None:
    await webhooks.create_user(roles=("ROLE_ADMIN",), github_username="octo-admin")
    project = await webhooks.create_project()
    body = push_body(login="octo-admin")
    status, answer = await webhooks.deliver(project.id, github_headers(project.key, body), body)
    assert status == 201
    assert (await webhooks.get_build(answer["executor_id"])).project_id == project.id


async def test_with_a_wildcard_branch_a_push_is_built_and_protected_by_its_own_ref(webhooks: WebhookStage) -> None:
    carol = await webhooks.create_user(github_username="octo-carol")
    project = await webhooks.create_project(carol, branch="*")
    sha = run_git(webhooks.repository, "rev-parse", "main")
    run_git(webhooks.repository, "branch", "--force", "topic/one", sha)
    claims = {}
    for branch in ("main", "topic/one"):
        body = push_body(f"refs/heads/{branch}", sha, "octo-carol")
        status, answer = await webhooks.deliver(project.id, github_headers(project.key, body), body)
        assert status == 201
        build = await eventually(lambda: webhooks.get_build(answer["executor_id"]), is_planned, within=20)  # noqa: B023
        assert (build.sha, build.ref) == (sha, f"refs/heads/{branch}")
        offer = RUNNER.replace(owner_type="PROJECT", owner_id=project.id)
        claims[branch] = await eventually(lambda: claim_job(webhooks, offer), bool, within=20)  # noqa: B023
        assert claims[branch].ref == f"refs/heads/{branch}"
    body = push_body("refs/heads/topic/one", sha, "octo-carol")
    await webhooks.deliver(project.id, github_headers(project.key, body), body)
    assert await claim_job(webhooks, RUNNER.replace(owner_type="PROJECT", owner_id=project.id, protected=True)) is None


def is_planned(build: BuildRow) -> bool:
    return build.sha is not None


async def claim_job(yard: WebhookStage, offer: RunnerDescription) -> Any:
    return ClaimResult.model_validate_json(await yard.caller.send(ClaimJob(runner=offer))).assignment


async def test_the_pushed_commit_is_planned_after_the_branch_moved_on(webhooks: WebhookStage) -> None:
    dora = await webhooks.create_user(github_username="octo-dora")
    run_git(webhooks.repository, "checkout", "--quiet", "-B", "moving", "main")
    pushed = commit_files(webhooks.repository, {"one": "1"})
    commit_files(webhooks.repository, {"two": "2"})
    run_git(webhooks.repository, "checkout", "--quiet", "main")
    project = await webhooks.create_project(dora, branch="moving")
    body = push_body("refs/heads/moving", pushed, "octo-dora")
    _, answer = await webhooks.deliver(project.id, github_headers(project.key, body), body)
    build = await eventually(lambda: webhooks.get_build(answer["executor_id"]), is_planned, within=20)
    assert (build.sha, build.exit_code) == (pushed, None)


async def test_a_form_encoded_github_webhook_is_read(webhooks: WebhookStage) -> None:
    await webhooks.create_user(roles=("ROLE_ADMIN",), github_username="octo-form")
    project = await webhooks.create_project()
    body = urlencode({"payload": push_body(login="octo-form").decode()}).encode()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    status, answer = await webhooks.deliver(project.id, github_headers(project.key, body) | form, body)
    assert status == 201
    payload = await webhooks.caller.query(GetWebhookPayload(delivery_id=answer["delivery_id"]))
    assert payload == push_body(login="octo-form")


# ---- ignored webhooks


@pytest.fixture(scope="module")
async def erin(webhooks: WebhookStage) -> int:
    return await webhooks.create_user(github_username="octo-erin", gitlab_username="tanuki-erin")


@pytest.fixture(scope="module")
async def shared_project(webhooks: WebhookStage, erin: int) -> WebhookProject:
    return await webhooks.create_project(erin)


@pytest.mark.parametrize(
    ("event", "body", "code"),
    [
        ("push", push_body("refs/heads/topic", login="octo-erin"), "WEBHOOK_BRANCH_IGNORED"),
        ("push", push_body("refs/tags/main", login="octo-erin"), "WEBHOOK_REF_IGNORED"),
        ("push", push_body(after=NULL_COMMIT, login="octo-erin", deleted=True), "WEBHOOK_BRANCH_DELETED"),
        ("ping", b'{"zen": "x", "hook_id": 1, "sender": {"login": "octo-erin"}}', "WEBHOOK_EVENT_IGNORED"),
        ("issues", b'{"action": "opened", "sender": {"login": "OCTO-ERIN"}}', "WEBHOOK_EVENT_IGNORED"),
        ("", push_body(login="octo-erin"), "WEBHOOK_EVENT_IGNORED"),
        ("push", push_body(login="unknown-login"), "WEBHOOK_SENDER_UNKNOWN"),
        ("push", push_body(login=""), "WEBHOOK_SENDER_UNKNOWN"),
        ("push", b'{"ref": "refs/heads/main"}', "WEBHOOK_SENDER_UNKNOWN"),
        ("push", push_body(login="tanuki-erin"), "WEBHOOK_SENDER_UNKNOWN"),
    ],
)
async def test_a_github_webhook_that_triggers_no_build_is_ignored_and_recorded(
    webhooks: WebhookStage, shared_project: WebhookProject, event: str, body: bytes, code: str
) -> None:
    assert (
        ignored_code(await webhooks.deliver(shared_project.id, github_headers(shared_project.key, body, event), body))
        == code
    )
    newest = (await webhooks.list_deliveries(shared_project.id))[0]
    assert (newest["decision"], newest["code"], newest["event"]) == ("IGNORED", code, event)
    assert await webhooks.list_queued_events(shared_project.id) == []


@pytest.mark.parametrize(
    ("event", "body", "code"),
    [
        ("Push Hook", gitlab_push_body(NULL_COMMIT, username="tanuki-erin"), "WEBHOOK_BRANCH_DELETED"),
        ("Tag Push Hook", gitlab_push_body(UNKNOWN_SHA, "refs/tags/v1", "tanuki-erin"), "WEBHOOK_EVENT_IGNORED"),
        ("Issue Hook", b'{"user": {"username": "tanuki-erin"}}', "WEBHOOK_EVENT_IGNORED"),
        ("Push Hook", gitlab_push_body(UNKNOWN_SHA, username="octo-erin"), "WEBHOOK_SENDER_UNKNOWN"),
        ("Push Hook", gitlab_push_body(UNKNOWN_SHA, username="", user_name=""), "WEBHOOK_SENDER_UNKNOWN"),
    ],
)
async def test_a_gitlab_webhook_that_triggers_no_build_is_ignored(
    webhooks: WebhookStage, shared_project: WebhookProject, event: str, body: bytes, code: str
) -> None:
    assert (
        ignored_code(await webhooks.deliver(shared_project.id, gitlab_headers(shared_project.key, event), body)) == code
    )
    assert await webhooks.list_queued_events(shared_project.id) == []


async def test_webhooks_of_non_members_and_disabled_users_are_ignored(webhooks: WebhookStage) -> None:
    frank, grace = (
        await webhooks.create_user(github_username="octo-frank"),
        await webhooks.create_user(github_username="octo-grace"),
    )
    project = await webhooks.create_project(grace)
    await webhooks.caller.send(SetUserEnabled(user_id=grace, enabled=False), actor=ROOT)
    for login, code in (("octo-frank", "WEBHOOK_SENDER_NOT_ALLOWED"), ("octo-grace", "WEBHOOK_SENDER_DISABLED")):
        body = push_body(login=login)
        assert ignored_code(await webhooks.deliver(project.id, github_headers(project.key, body), body)) == code
    shown = await webhooks.list_deliveries(project.id)
    assert [delivery["user_id"] for delivery in shown] == [grace, frank]


async def test_among_users_with_one_forge_name_one_who_may_launch_is_the_sender(webhooks: WebhookStage) -> None:
    users = [await webhooks.create_user(github_username=name) for name in ("octo-twin", "Octo-Twin", "OCTO-TWIN")]
    await webhooks.caller.send(SetUserEnabled(user_id=users[1], enabled=False), actor=ROOT)
    project = await webhooks.create_project(users[1], users[2])
    body = push_body(login="octo-twin")
    status, answer = await webhooks.deliver(project.id, github_headers(project.key, body), body)
    assert status == 201
    assert (await webhooks.get_build(answer["executor_id"])).initiator_id == users[2]


async def test_a_forge_username_is_matched_while_it_is_set(webhooks: WebhookStage) -> None:
    henry = await webhooks.create_user()
    project = await webhooks.create_project(henry)
    body = push_body(login="octo-henry")
    codes = []
    for name in (None, "Octo-Henry", ""):
        command = ChangeProviderName(user_id=henry, provider="github", username=name)
        await webhooks.caller.send(command, actor=ROOT)
        codes.append((await webhooks.deliver(project.id, github_headers(project.key, body), body))[1]["code"])
    assert codes == ["WEBHOOK_SENDER_UNKNOWN", None, "WEBHOOK_SENDER_UNKNOWN"]


# ---- rejected webhooks


async def test_webhook_errors_are_reported_in_order_project_provider_signature(
    webhooks: WebhookStage, shared_project: WebhookProject
) -> None:
    assert error_of(await webhooks.deliver(999_999, {}, b"")) == (404, "PROJECT_NOT_FOUND")
    headers = {"Content-Type": "application/json"}
    assert error_of(await webhooks.deliver(shared_project.id, headers, b"{")) == (400, "WEBHOOK_PROVIDER_NOT_SUPPORTED")
    body = push_body(login="unknown-login")
    bad = (401, "WEBHOOK_SIGNATURE_INVALID")
    assert error_of(await webhooks.deliver(shared_project.id, github_headers("another key", body), body)) == bad
    assert error_of(await webhooks.deliver(shared_project.id, gitlab_headers("another key"), b"{")) == bad
    assert error_of(await webhooks.deliver(shared_project.id, {"X-GitHub-Event": "push"}, body)) == bad
    right = github_headers(shared_project.key, body)
    assert error_of(await webhooks.deliver(shared_project.id, right, body + b" ")) == bad


async def test_the_webhook_signature_covers_the_raw_body(
    webhooks: WebhookStage, shared_project: WebhookProject
) -> None:
    body = b' {"ref" : "refs/heads/topic",\r\n\t"sender":{"login":"octo-\\u0065rin"}, "note": "\xc3\xa4"} \n'
    answer = await webhooks.deliver(shared_project.id, github_headers(shared_project.key, body), body)
    assert ignored_code(answer) == "WEBHOOK_BRANCH_IGNORED"


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'{"ref": "\xff"}'])
async def test_an_unreadable_webhook_payload_is_400(
    webhooks: WebhookStage, shared_project: WebhookProject, body: bytes
) -> None:
    answer = await webhooks.deliver(shared_project.id, github_headers(shared_project.key, body), body)
    assert error_of(answer) == (400, "WEBHOOK_PAYLOAD_INVALID")


async def test_a_push_payload_without_a_commit_is_400(webhooks: WebhookStage, shared_project: WebhookProject) -> None:
    body = push_body(after="main", login="octo-erin")
    answer = await webhooks.deliver(shared_project.id, github_headers(shared_project.key, body), body)
    assert error_of(answer) == (400, "WEBHOOK_PAYLOAD_INVALID")


async def test_a_renewed_signature_key_invalidates_the_old_one(webhooks: WebhookStage, erin: int) -> None:
    project = await webhooks.create_project(erin)
    await webhooks.caller.send(RenewSignatureKey(project_id=project.id), actor=ROOT)
    body = push_body(login="octo-erin")
    delivery = str(uuid4())
    old = github_headers(project.key, body, delivery=delivery)
    assert error_of(await webhooks.deliver(project.id, old, body)) == (401, "WEBHOOK_SIGNATURE_INVALID")
    new = github_headers((await webhooks.load_project(project.id)).key, body, delivery=delivery)
    # a delivery with an invalid signature does not use up its id
    assert (await webhooks.deliver(project.id, new, body))[0] == 201


async def test_many_invalid_signatures_are_counted_and_not_written_to_the_event_log(
    webhooks: WebhookStage, erin: int
) -> None:
    project = await webhooks.create_project(erin)
    body = push_body(login="octo-erin")
    async with create_mongo_client(webhooks.stage.settings, "test") as client:
        commits = get_database(client, webhooks.stage.settings, "projects")["commits"]
        before = await commits.count_documents({})
        flood = [
            webhooks.deliver(project.id, github_headers("guess", body), body, gateway=number % 2)
            for number in range(50)
        ]
        assert {answer[0] for answer in await asyncio.gather(*flood)} == {401}
        assert await commits.count_documents({}) == before
    shown = await webhooks.list_deliveries(project.id, per_page="100")
    assert 10 <= len(shown) <= 20  # two minutes' quota if the minute changed during the test
    assert {(delivery["decision"], delivery["code"]) for delivery in shown} == {
        ("REFUSED", "WEBHOOK_SIGNATURE_INVALID")
    }
    assert len(shown) + sum(delivery["unrecorded"] for delivery in shown) == 50
    assert max(delivery["refused_total"] for delivery in shown) == 50
    assert await webhooks.list_delivery_events(project.id) == []


async def test_rejected_deliveries_are_listed_among_the_others_in_pages(webhooks: WebhookStage, erin: int) -> None:
    project = await webhooks.create_project(erin)
    body = push_body(login="octo-erin")
    for number in range(12):
        key = "guess" if number % 3 == 1 else project.key
        await webhooks.deliver(project.id, github_headers(key, body, "ping" if number % 3 else "issues"), body)
    whole = await webhooks.list_deliveries(project.id, per_page="100")
    assert [delivery["decision"] for delivery in whole] == ["IGNORED", "REFUSED", "IGNORED"] * 4
    for size in (1, 2, 5, 7):
        pages = [
            await webhooks.list_deliveries(project.id, per_page=str(size), page=str(page + 1)) for page in range(13)
        ]
        assert [delivery for page in pages for delivery in page] == whole
    filtered = {"decision[eq]": "REFUSED", "event[eq]": "ping", "per_page": "3"}
    only = await webhooks.list_deliveries(project.id, **filtered)
    assert only == [delivery for delivery in whole if delivery["decision"] == "REFUSED"][:3]
    single = await webhooks.gateways[0].get(f"/api/admin/deliveries/{only[0]['id']}", headers=webhooks.admin)
    assert single.json() == only[0]


async def test_the_number_of_stored_rejected_deliveries_is_limited(
    webhooks: WebhookStage, shared_project: WebhookProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejections, "MAX_NEW_ENTRIES_PER_MINUTE", 1000)
    project = await webhooks.create_project()
    for _ in range(rejections.MAX_ENTRIES_PER_PROJECT + 5):
        await webhooks.deliver(project.id, gitlab_headers("guess"), b"{")
    shown = await webhooks.list_deliveries(project.id, per_page="100")
    assert [delivery["refused_total"] for delivery in shown] == list(range(25, 5, -1))


@pytest.fixture
async def bus_messages(webhooks: WebhookStage) -> AsyncIterator[list[bytes]]:
    """Collect all messages sent over NATS."""
    messages: list[bytes] = []

    async def note(message: Msg) -> None:
        messages.append(message.data)

    subscription = await webhooks.bus.subscribe(">", cb=note)
    yield messages
    await subscription.unsubscribe()


async def test_a_webhook_payload_without_a_valid_signature_is_not_sent_over_nats(
    webhooks: WebhookStage, erin: int, bus_messages: list[bytes]
) -> None:
    project = await webhooks.create_project(erin)
    body = push_body(login="octo-erin", padding="x" * 1_000_000)
    bus_messages.clear()
    for headers in (github_headers("guess", body), gitlab_headers("guess"), {"X-GitHub-Event": "push"}):
        assert error_of(await webhooks.deliver(project.id, headers, body)) == (401, "WEBHOOK_SIGNATURE_INVALID")
    assert error_of(await webhooks.deliver(project.id, {}, body))[0] == 400
    await webhooks.bus.flush()
    assert bus_messages
    assert max(map(len, bus_messages)) < 10_000
    (newest, *_) = await webhooks.list_deliveries(project.id)
    assert newest["body_size"] == len(body)


async def test_the_signature_key_is_encrypted_on_nats(
    webhooks: WebhookStage, erin: int, bus_messages: list[bytes]
) -> None:
    project = await webhooks.create_project(erin)
    body = push_body(login="octo-erin")
    bus_messages.clear()
    assert (await webhooks.deliver(project.id, github_headers(project.key, body), body))[0] == 201
    await webhooks.bus.flush()
    assert any(b"encrypted" in message for message in bus_messages)
    assert not [message for message in bus_messages if project.key.encode() in message]


async def test_with_a_projects_service_of_0_2_0_the_service_checks_the_signature(
    repository: Path, tmp_path: Path
) -> None:
    new = (GetDeliveryKey, RejectWebhook)
    older = replace(projects, handlers=tuple(one for one in projects.handlers if one.message not in new))
    with running_servers(tmp_path) as servers:
        async with webhook_stage(servers, repository, tmp_path, older) as yard:
            erin = await yard.create_user(github_username="octo-erin")
            project = await yard.create_project(erin)
            body = push_body(login="octo-erin")
            assert error_of(await yard.deliver(project.id, github_headers("guess", body), body)) == (
                401,
                "WEBHOOK_SIGNATURE_INVALID",
            )
            assert (
                ignored_code(await yard.deliver(project.id, github_headers(project.key, body, "ping"), body))
                == "WEBHOOK_EVENT_IGNORED"
            )


async def test_a_webhook_payload_above_the_limit_is_413_and_one_at_the_limit_is_accepted(
    webhooks: WebhookStage, erin: int
) -> None:
    project = await webhooks.create_project(erin)
    limit = 5 * 1024 * 1024
    body = push_body(login="octo-erin", padding="")
    large = push_body(login="octo-erin", padding="x" * (limit - len(body)))
    assert len(large) == limit
    assert (await webhooks.deliver(project.id, github_headers(project.key, large), large))[0] == 201
    beyond = large + b" "
    answer = await webhooks.deliver(project.id, github_headers(project.key, beyond), beyond)
    assert error_of(answer) == (413, "REQUEST_TOO_LARGE")


# ---- deduplication


@pytest.mark.parametrize("provider", ["github", "gitlab", "gitlab by key"])
async def test_a_redelivered_webhook_gets_the_first_response(webhooks: WebhookStage, erin: int, provider: str) -> None:
    project = await webhooks.create_project(erin)
    if provider == "github":
        body = push_body(login="octo-erin")
        again = [github_headers(project.key, body, delivery="72d3162e")] * 2
    else:
        body = gitlab_push_body(UNKNOWN_SHA, username="tanuki-erin")
        key = {"Idempotency-Key": "f5e5f430"} if provider == "gitlab by key" else {"X-Gitlab-Event-UUID": "13792a34"}
        again = [gitlab_headers(project.key) | key for _ in range(2)]
    answers = [
        await webhooks.deliver(project.id, headers, body, gateway=number) for number, headers in enumerate(again)
    ]
    assert answers[0] == answers[1]
    assert answers[0][0] == 201
    await webhooks.caller.send(ChangeBranch(project_id=project.id, branch="release"), actor=ROOT)
    assert await webhooks.deliver(project.id, again[0], body) == answers[0]
    [_build] = await eventually(lambda: webhooks.list_queued_events(project.id), bool, within=30)
    assert len(await webhooks.list_deliveries(project.id)) == 1


async def test_concurrent_equal_deliveries_are_recorded_and_built_once(webhooks: WebhookStage, erin: int) -> None:
    project = await webhooks.create_project(erin)
    body = push_body(login="octo-erin")
    headers = github_headers(project.key, body)
    answers = await asyncio.gather(
        *(webhooks.deliver(project.id, headers, body, gateway=number % 2) for number in range(12))
    )
    assert {status for status, _ in answers} == {201}
    assert len({answer["executor_id"] for _, answer in answers}) == 1
    [_build] = await eventually(lambda: webhooks.list_queued_events(project.id), bool, within=30)
    assert len(await webhooks.list_deliveries(project.id)) == 1


async def test_a_delivery_id_is_scoped_to_its_project_and_rejected_with_another_body(
    webhooks: WebhookStage, erin: int
) -> None:
    first_project, other = await webhooks.create_project(erin), await webhooks.create_project(erin)
    body, changed = push_body(login="octo-erin"), push_body(login="octo-erin", after="2" * 40)
    first = await webhooks.deliver(first_project.id, github_headers(first_project.key, body, delivery="same"), body)
    second = await webhooks.deliver(other.id, github_headers(other.key, body, delivery="same"), body)
    assert (first[0], second[0]) == (201, 201)
    assert first[1]["executor_id"] != second[1]["executor_id"]
    third = await webhooks.deliver(
        first_project.id, github_headers(first_project.key, changed, delivery="same"), changed
    )
    assert error_of(third) == (422, "IDEMPOTENCY_KEY_REUSED")


async def test_deliveries_without_an_id_are_separate(webhooks: WebhookStage, erin: int) -> None:
    project = await webhooks.create_project(erin)
    body = push_body(login="octo-erin")
    headers = github_headers(project.key, body)
    del headers["X-GitHub-Delivery"]
    answers = [await webhooks.deliver(project.id, headers, body) for _ in range(2)]
    assert len({answer["executor_id"] for _, answer in answers}) == 2


# ---- lists and deletion


async def test_only_administrators_list_deliveries(webhooks: WebhookStage, shared_project: WebhookProject) -> None:
    paths = [f"/api/admin/projects/{shared_project.id}/deliveries", f"/api/admin/deliveries/{uuid4()}"]
    assert [(await webhooks.gateways[0].get(path)).status_code for path in paths] == [401, 401]
    answers = [
        await webhooks.gateways[0].get(path, headers=webhooks.admin)
        for path in ("/api/admin/projects/999999/deliveries", paths[1])
    ]
    assert [answer.json()["message"] for answer in answers] == ["PROJECT_NOT_FOUND", "DELIVERY_NOT_FOUND"]


async def test_deliveries_are_listed_newest_first_in_pages_with_filters(webhooks: WebhookStage, erin: int) -> None:
    project = await webhooks.create_project(erin)
    for branch in ("one", "main", "two"):
        body = push_body(f"refs/heads/{branch}", login="octo-erin")
        await webhooks.deliver(project.id, github_headers(project.key, body), body)
    refs = [delivery["ref"] for delivery in await webhooks.list_deliveries(project.id)]
    assert refs == ["refs/heads/two", "refs/heads/main", "refs/heads/one"]
    assert [delivery["ref"] for delivery in await webhooks.list_deliveries(project.id, per_page="2", page="2")] == [
        "refs/heads/one"
    ]
    chosen = await webhooks.list_deliveries(project.id, **{"decision[eq]": "ACCEPTED"})
    assert [delivery["ref"] for delivery in chosen] == ["refs/heads/main"]


async def test_webhook_keys_and_sender_names_are_encrypted_in_the_event_log_and_on_nats(webhooks: WebhookStage) -> None:
    project = await webhooks.create_project()
    body = push_body(login="octo-canary")
    await webhooks.deliver(project.id, github_headers(project.key, body), body)
    await webhooks.deliver(
        project.id, gitlab_headers(project.key), gitlab_push_body(UNKNOWN_SHA, username="octo-canary")
    )
    await webhooks.deliver(project.id, gitlab_headers("token-canary"), gitlab_push_body(UNKNOWN_SHA))
    await eventually(lambda: webhooks.list_delivery_events(project.id), lambda names: len(names) == 2, within=10)
    async with create_mongo_client(webhooks.stage.settings, "test") as client:
        database = get_database(client, webhooks.stage.settings, "projects")
        texts = [
            str(document)
            for name in ("commits", "streams", "refused_deliveries")
            async for document in database[name].find({})
        ]
    texts += [message.data.decode() for message in await read_stream_messages(webhooks.bus, "projects")]
    secrets = ("canary", project.key or "-", sign(project.key, body))
    assert [secret for secret in secrets for text in texts if secret in text] == []


async def test_deleting_a_project_deletes_its_deliveries(webhooks: WebhookStage, erin: int) -> None:
    project = await webhooks.create_project(erin)
    body = push_body(login="octo-erin")
    _, answer = await webhooks.deliver(project.id, github_headers(project.key, body), body)
    assert await webhooks.caller.query(GetWebhookPayload(delivery_id=answer["delivery_id"])) == body
    await webhooks.caller.send(DeleteProject(project_id=project.id), actor=ROOT)
    path = f"/api/admin/deliveries/{answer['delivery_id']}"
    assert (await webhooks.gateways[0].get(path, headers=webhooks.admin)).json()["message"] == "DELIVERY_NOT_FOUND"
    body_of = GetWebhookPayload(delivery_id=answer["delivery_id"])
    await eventually(lambda: webhooks.caller.query(body_of), lambda payload: payload == b"", within=20)


async def test_the_webhook_payload_of_a_finished_build_is_deleted(webhooks: WebhookStage, erin: int) -> None:
    project = await webhooks.create_project(erin, branch="main")
    body = push_body(login="octo-erin")  # the commit does not exist, so planning the build fails
    _, answer = await webhooks.deliver(project.id, github_headers(project.key, body), body)
    build = await eventually(lambda: webhooks.get_build(answer["executor_id"]), lambda build: build.finished, within=20)
    assert build.exit_code == 128
    body_of = GetWebhookPayload(delivery_id=answer["delivery_id"])
    await eventually(lambda: webhooks.caller.query(body_of), lambda payload: payload == b"", within=20)


async def test_an_accepted_delivery_is_built_after_the_builds_service_was_down(
    repository: Path, tmp_path: Path
) -> None:
    """Simulates a crash between recording the delivery and queueing the build: only the event log knows the build."""
    with running_servers(tmp_path / "servers") as servers:
        async with webhook_stage(servers, repository, tmp_path / "data") as yard:
            ivan = await yard.create_user(github_username="octo-ivan")
            project = await yard.create_project(ivan)
            body = push_body(login="octo-ivan", after=run_git(repository, "rev-parse", "main"))
            headers = github_headers(project.key, body)
            status, answer = await yard.deliver(project.id, headers, body)
            assert (status, answer["decision"]) == (201, "ACCEPTED")
            with pytest.raises(RequestRejected, match="SERVICE_UNAVAILABLE"):
                await yard.get_build(answer["executor_id"])
            async with yard.stage.running(lambda: builds):
                await eventually(lambda: yard.list_queued_events(project.id), bool, within=30)
                assert await yard.deliver(project.id, headers, body, gateway=1) == (status, answer)
                build = await yard.get_build(answer["executor_id"])
                assert (build.initiator_id, build.delivery_id) == (ivan, answer["delivery_id"])
                assert len(await yard.list_queued_events(project.id)) == 1
