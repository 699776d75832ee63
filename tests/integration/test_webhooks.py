"""Webhooks through two gateways on real services: who is let in, what is decided, and that nothing happens twice."""

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

from contracts.builds import BuildRow, Claim, ClaimJob, GetBuild, RunnerOffer
from contracts.errors import Refused
from contracts.identity import ChangeProviderName, RegisterUser, SetUserEnabled
from contracts.messages import Command, Done
from contracts.projects import (
    ChangeBranch,
    CreateProject,
    DeleteProject,
    Executors,
    GetDeliveryKey,
    GetProject,
    GetRequestBody,
    ListExecutors,
    ProjectView,
    RefuseDelivery,
    RenewSignatureKey,
)
from infra.migrate import all_services
from libs.connections import database_of, mongo
from libs.deciding import Actor
from libs.messaging import Caller
from libs.service import Service
from services.builds.app import service as builds
from services.identity.app import service as identity
from services.projects import refusals
from services.projects.app import service as projects
from tests.integration.gateway_stage import eventually, serving
from tests.integration.stage import Stage, empty_stage
from tests.support import stored
from tests.support.forges import NOTHING, github, github_push, gitlab, gitlab_push, signed
from tests.support.repositories import commit, git, sample_repository
from tests.support.servers import Servers, servers_in

ROOT = Actor(1, "root", ("ROLE_ADMIN",))
ELSEWHERE = "1" * 40  # a commit that nobody builds
Answer = tuple[int, Any]
RUNNER = RunnerOffer(runner_id=1, runner_uuid="r-1", name="one")


@dataclass(frozen=True)
class Mill:
    """A project and its signature key."""

    id: int
    key: str


@dataclass(frozen=True)
class Yard:
    """Two gateways before the same services, and a repository that its users push to."""

    gateways: tuple[httpx.AsyncClient, ...]
    caller: Caller
    bus: Client
    stage: Stage
    repository: Path
    admin: Mapping[str, str]

    async def made(self, command: Command) -> int:
        return int(Done.model_validate_json(await self.caller.tell(command, actor=ROOT)).row["id"])

    async def user(self, *, roles: tuple[str, ...] = ("ROLE_DEVELOPER",), **names: str) -> int:
        username = f"user-{uuid4().hex[:8]}"
        return await self.made(RegisterUser(username=username, password="millwheel-7", roles=roles, **names))

    async def project(self, *developers: int, branch: str = "main") -> Mill:
        (default,) = Executors.model_validate_json(await self.caller.ask(ListExecutors())).executors
        wanted = CreateProject(
            name=f"mill {uuid4().hex[:6]}",
            repository=str(self.repository),
            branch=branch,
            spec_file_path="/headrace.yaml",
            allow_concurrent_execution=True,
            executor_id=default.id,
            developers_id=developers,
        )
        return await self.mill(await self.made(wanted))

    async def mill(self, project_id: int) -> Mill:
        shown = ProjectView.model_validate_json(await self.caller.ask(GetProject(project_id=project_id, reveal=True)))
        return Mill(project_id, shown.signature_key or "")

    async def send(self, project_id: int, headers: Mapping[str, str], body: bytes, *, gateway: int = 0) -> Answer:
        path = f"/api/guest/webhooks/build/{project_id}"
        answer = await self.gateways[gateway].post(path, content=body, headers=headers)
        return answer.status_code, answer.json()

    async def deliveries(self, project_id: int, **query: str) -> list[dict[str, Any]]:
        path = f"/api/admin/projects/{project_id}/deliveries"
        answer = await self.gateways[0].get(path, headers=self.admin, params=query)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["data"])

    async def build(self, executor_id: str) -> BuildRow:
        return BuildRow.model_validate_json(await self.caller.ask(GetBuild(executor_id=executor_id)))

    async def builds(self, project_id: int) -> list[Any]:
        """All that were ever queued; what cannot be planned soon leaves the queue."""
        queued = [one for one in await stored(self.bus, "builds") if one.subject.endswith(".BuildQueued")]
        return [one for one in queued if json.loads(one.data)["project_id"] == project_id]

    async def events(self, project_id: int) -> list[str]:
        """The names of those that tell of the project's deliveries."""
        messages = [one for one in await stored(self.bus, "projects") if ".delivery-" in one.subject]
        mine = [one for one in messages if json.loads(one.data)["project_id"] == project_id]
        return [one.subject.rpartition(".")[2] for one in mine]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample_repository(tmp_path_factory.mktemp("repository") / "mill")


@asynccontextmanager
async def opened_yard(
    servers: Servers, repository: Path, data: Path, projects: Service = projects
) -> AsyncIterator[Yard]:
    told = {"admin_username": "root", "admin_password": "millwheel-7", "local_repositories": True, "data": data}
    async with empty_stage(servers, **told) as stage:
        await stage.migrate(*all_services())
        async with (
            stage.running(lambda: identity),
            stage.running(lambda: projects, replicas=2),
            serving(stage.settings) as (_, _, one),
            serving(stage.settings) as (_, _, other),
            httpx.AsyncClient(base_url=one, timeout=20) as first,
            httpx.AsyncClient(base_url=other, timeout=20) as second,
            stage.connected() as bus,
        ):
            body = {"auth": {"username": "root", "password": "millwheel-7"}}
            token = (await first.post("/api/auth/token", json=body)).json()["access_token"]
            admin = {"Authorization": f"Bearer {token}"}
            yield Yard((first, second), Caller(bus), bus, stage, repository, admin)


@pytest.fixture(scope="module")
async def yard(servers: Servers, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Yard]:
    data = tmp_path_factory.mktemp("data")
    async with opened_yard(servers, repository, data) as yard, yard.stage.running(lambda: builds):
        yield yard


def push(ref: str = "refs/heads/main", after: str = ELSEWHERE, login: str = "Octo-Ada", **more: Any) -> bytes:
    return github_push(after, ref, login, **more)


def ignored(answer: Answer) -> str:
    status, body = answer
    assert (status, body["decision"], body["executor_id"]) == (200, "IGNORED", None)
    return str(body["code"])


def refused(answer: Answer) -> tuple[int, str]:
    return answer[0], answer[1]["message"]


# ---- what is built


async def test_a_push_is_built_at_its_commit_by_its_sender(yard: Yard) -> None:
    ada = await yard.user(github_username="octo-ada")
    project = await yard.project(ada)
    body = push()
    status, answer = await yard.send(project.id, github(project.key, body), body)
    assert (status, answer["decision"], answer["code"]) == (201, "ACCEPTED", None)
    build = await yard.build(answer["executor_id"])  # at once: it is queued when the forge is answered
    assert (build.pinned_sha, build.pinned_ref, build.initiator_id) == (ELSEWHERE, "refs/heads/main", ada)
    [shown] = await yard.deliveries(project.id)
    assert (shown["decision"], shown["sender"], shown["user_id"]) == ("ACCEPTED", "Octo-Ada", ada)
    assert (shown["executor_id"], shown["ref"], shown["sha"]) == (build.executor_id, "refs/heads/main", ELSEWHERE)
    assert shown["body_size"] == len(body)
    one = await yard.gateways[1].get(f"/api/admin/deliveries/{answer['delivery_id']}", headers=yard.admin)
    assert one.json() == shown
    await eventually(lambda: yard.events(project.id), lambda names: names == ["DeliveryAccepted"], within=10)


async def test_the_history_of_a_delivery_and_of_its_build_names_the_sender(yard: Yard) -> None:
    kim = await yard.user(github_username="octo-kim")
    project = await yard.project(kim)
    body = push(login="octo-kim")
    _, answer = await yard.send(project.id, github(project.key, body), body)
    build = await yard.build(answer["executor_id"])
    for one in (f"delivery/{answer['delivery_id']}", f"build/{build.id}"):
        told = (await yard.gateways[0].get(f"/api/admin/history/{one}", headers=yard.admin)).json()
        assert told["entries"][0]["actor"]["id"] == kim


async def test_gitlab_pushes_are_built_too_and_the_display_name_is_only_a_fallback(yard: Yard) -> None:
    bob, mallory = await yard.user(gitlab_username="Tanuki-Bob"), await yard.user(gitlab_username="Bob Builder")
    project = await yard.project(bob, mallory)
    for sender, user in (
        ({"user_username": "tanuki-bob", "user_name": "Bob Builder"}, bob),
        ({"user_name": "bob builder"}, mallory),
    ):
        status, answer = await yard.send(
            project.id, gitlab(project.key), gitlab_push(ELSEWHERE, **({"user_username": ""} | sender))
        )
        assert status == 201
        assert (await yard.build(answer["executor_id"])).initiator_id == user


async def test_an_administrator_need_not_be_of_the_project(yard: Yard) -> None:
    await yard.user(roles=("ROLE_ADMIN",), github_username="octo-admin")
    project = await yard.project()
    body = push(login="octo-admin")
    status, answer = await yard.send(project.id, github(project.key, body), body)
    assert status == 201
    assert (await yard.build(answer["executor_id"])).project_id == project.id


async def test_any_branch_is_built_at_its_own_ref_and_protected_by_its_own_name(yard: Yard) -> None:
    carol = await yard.user(github_username="octo-carol")
    project = await yard.project(carol, branch="*")
    sha = git(yard.repository, "rev-parse", "main")
    git(yard.repository, "branch", "--force", "topic/one", sha)
    claims = {}
    for branch in ("main", "topic/one"):
        body = push(f"refs/heads/{branch}", sha, "octo-carol")
        status, answer = await yard.send(project.id, github(project.key, body), body)
        assert status == 201
        build = await eventually(lambda: yard.build(answer["executor_id"]), planned, within=20)  # noqa: B023
        assert (build.sha, build.ref) == (sha, f"refs/heads/{branch}")
        offer = RUNNER.but(owner_type="PROJECT", owner_id=project.id)
        claims[branch] = await eventually(lambda: claimed(yard, offer), bool, within=20)  # noqa: B023
        assert claims[branch].ref == f"refs/heads/{branch}"
    body = push("refs/heads/topic/one", sha, "octo-carol")
    await yard.send(project.id, github(project.key, body), body)
    assert await claimed(yard, RUNNER.but(owner_type="PROJECT", owner_id=project.id, protected=True)) is None


def planned(build: BuildRow) -> bool:
    return build.sha is not None


async def claimed(yard: Yard, offer: RunnerOffer) -> Any:
    return Claim.model_validate_json(await yard.caller.tell(ClaimJob(runner=offer))).assignment


async def test_the_pushed_commit_is_planned_although_the_branch_has_moved_on(yard: Yard) -> None:
    dora = await yard.user(github_username="octo-dora")
    git(yard.repository, "checkout", "--quiet", "-B", "moving", "main")
    pushed = commit(yard.repository, {"one": "1"})
    commit(yard.repository, {"two": "2"})
    git(yard.repository, "checkout", "--quiet", "main")
    project = await yard.project(dora, branch="moving")
    body = push("refs/heads/moving", pushed, "octo-dora")
    _, answer = await yard.send(project.id, github(project.key, body), body)
    build = await eventually(lambda: yard.build(answer["executor_id"]), planned, within=20)
    assert (build.sha, build.exit_code) == (pushed, None)


async def test_githubs_form_is_read(yard: Yard) -> None:
    await yard.user(roles=("ROLE_ADMIN",), github_username="octo-form")
    project = await yard.project()
    body = urlencode({"payload": push(login="octo-form").decode()}).encode()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    status, answer = await yard.send(project.id, github(project.key, body) | form, body)
    assert status == 201
    kept = await yard.caller.ask(GetRequestBody(delivery_id=answer["delivery_id"]))
    assert kept == push(login="octo-form")


# ---- what is not


@pytest.fixture(scope="module")
async def erin(yard: Yard) -> int:
    return await yard.user(github_username="octo-erin", gitlab_username="tanuki-erin")


@pytest.fixture(scope="module")
async def mill(yard: Yard, erin: int) -> Mill:
    return await yard.project(erin)


@pytest.mark.parametrize(
    ("event", "body", "code"),
    [
        ("push", push("refs/heads/topic", login="octo-erin"), "WEBHOOK_BRANCH_IGNORED"),
        ("push", push("refs/tags/main", login="octo-erin"), "WEBHOOK_REF_IGNORED"),
        ("push", push(after=NOTHING, login="octo-erin", deleted=True), "WEBHOOK_BRANCH_DELETED"),
        ("ping", b'{"zen": "x", "hook_id": 1, "sender": {"login": "octo-erin"}}', "WEBHOOK_EVENT_IGNORED"),
        ("issues", b'{"action": "opened", "sender": {"login": "OCTO-ERIN"}}', "WEBHOOK_EVENT_IGNORED"),
        ("", push(login="octo-erin"), "WEBHOOK_EVENT_IGNORED"),
        ("push", push(login="nobody-here"), "WEBHOOK_SENDER_UNKNOWN"),
        ("push", push(login=""), "WEBHOOK_SENDER_UNKNOWN"),
        ("push", b'{"ref": "refs/heads/main"}', "WEBHOOK_SENDER_UNKNOWN"),
        ("push", push(login="tanuki-erin"), "WEBHOOK_SENDER_UNKNOWN"),
    ],
)
async def test_what_is_not_for_us_is_told_and_recorded(
    yard: Yard, mill: Mill, event: str, body: bytes, code: str
) -> None:
    assert ignored(await yard.send(mill.id, github(mill.key, body, event), body)) == code
    newest = (await yard.deliveries(mill.id))[0]
    assert (newest["decision"], newest["code"], newest["event"]) == ("IGNORED", code, event)
    assert await yard.builds(mill.id) == []


@pytest.mark.parametrize(
    ("event", "body", "code"),
    [
        ("Push Hook", gitlab_push(NOTHING, username="tanuki-erin"), "WEBHOOK_BRANCH_DELETED"),
        ("Tag Push Hook", gitlab_push(ELSEWHERE, "refs/tags/v1", "tanuki-erin"), "WEBHOOK_EVENT_IGNORED"),
        ("Issue Hook", b'{"user": {"username": "tanuki-erin"}}', "WEBHOOK_EVENT_IGNORED"),
        ("Push Hook", gitlab_push(ELSEWHERE, username="octo-erin"), "WEBHOOK_SENDER_UNKNOWN"),
        ("Push Hook", gitlab_push(ELSEWHERE, username="", user_name=""), "WEBHOOK_SENDER_UNKNOWN"),
    ],
)
async def test_nor_is_it_from_gitlab(yard: Yard, mill: Mill, event: str, body: bytes, code: str) -> None:
    assert ignored(await yard.send(mill.id, gitlab(mill.key, event), body)) == code
    assert await yard.builds(mill.id) == []


async def test_strangers_to_the_project_and_disabled_users_trigger_nothing(yard: Yard) -> None:
    frank, grace = await yard.user(github_username="octo-frank"), await yard.user(github_username="octo-grace")
    project = await yard.project(grace)
    await yard.caller.tell(SetUserEnabled(user_id=grace, enabled=False), actor=ROOT)
    for login, code in (("octo-frank", "WEBHOOK_SENDER_NOT_ALLOWED"), ("octo-grace", "WEBHOOK_SENDER_DISABLED")):
        body = push(login=login)
        assert ignored(await yard.send(project.id, github(project.key, body), body)) == code
    shown = await yard.deliveries(project.id)
    assert [one["user_id"] for one in shown] == [grace, frank]


async def test_of_users_with_one_name_one_who_may_launch_counts(yard: Yard) -> None:
    users = [await yard.user(github_username=name) for name in ("octo-twin", "Octo-Twin", "OCTO-TWIN")]
    await yard.caller.tell(SetUserEnabled(user_id=users[1], enabled=False), actor=ROOT)
    project = await yard.project(users[1], users[2])
    body = push(login="octo-twin")
    status, answer = await yard.send(project.id, github(project.key, body), body)
    assert status == 201
    assert (await yard.build(answer["executor_id"])).initiator_id == users[2]


async def test_a_name_at_a_forge_counts_from_when_it_is_given_until_it_is_taken(yard: Yard) -> None:
    henry = await yard.user()
    project = await yard.project(henry)
    body = push(login="octo-henry")
    codes = []
    for name in (None, "Octo-Henry", ""):
        command = ChangeProviderName(user_id=henry, provider="github", username=name)
        await yard.caller.tell(command, actor=ROOT)
        codes.append((await yard.send(project.id, github(project.key, body), body))[1]["code"])
    assert codes == ["WEBHOOK_SENDER_UNKNOWN", None, "WEBHOOK_SENDER_UNKNOWN"]


# ---- what is refused


async def test_the_project_comes_first_then_the_forge_then_the_signature(yard: Yard, mill: Mill) -> None:
    assert refused(await yard.send(999_999, {}, b"")) == (404, "PROJECT_NOT_FOUND")
    nobody = {"Content-Type": "application/json"}
    assert refused(await yard.send(mill.id, nobody, b"{")) == (400, "WEBHOOK_PROVIDER_NOT_SUPPORTED")
    body = push(login="nobody-here")
    bad = (401, "WEBHOOK_SIGNATURE_INVALID")
    assert refused(await yard.send(mill.id, github("another key", body), body)) == bad
    assert refused(await yard.send(mill.id, gitlab("another key"), b"{")) == bad
    assert refused(await yard.send(mill.id, {"X-GitHub-Event": "push"}, body)) == bad
    right = github(mill.key, body)
    assert refused(await yard.send(mill.id, right, body + b" ")) == bad


async def test_the_signature_is_over_the_bytes_as_they_came(yard: Yard, mill: Mill) -> None:
    body = b' {"ref" : "refs/heads/topic",\r\n\t"sender":{"login":"octo-\\u0065rin"}, "note": "\xc3\xa4"} \n'
    answer = await yard.send(mill.id, github(mill.key, body), body)
    assert ignored(answer) == "WEBHOOK_BRANCH_IGNORED"


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'{"ref": "\xff"}'])
async def test_what_cannot_be_read_is_no_error_of_ours(yard: Yard, mill: Mill, body: bytes) -> None:
    answer = await yard.send(mill.id, github(mill.key, body), body)
    assert refused(answer) == (400, "WEBHOOK_PAYLOAD_INVALID")


async def test_a_push_without_a_commit_is_no_error_of_ours(yard: Yard, mill: Mill) -> None:
    body = push(after="main", login="octo-erin")
    answer = await yard.send(mill.id, github(mill.key, body), body)
    assert refused(answer) == (400, "WEBHOOK_PAYLOAD_INVALID")


async def test_a_renewed_key_makes_the_old_one_useless(yard: Yard, erin: int) -> None:
    project = await yard.project(erin)
    await yard.caller.tell(RenewSignatureKey(project_id=project.id), actor=ROOT)
    body = push(login="octo-erin")
    delivery = str(uuid4())
    old = github(project.key, body, delivery=delivery)
    assert refused(await yard.send(project.id, old, body)) == (401, "WEBHOOK_SIGNATURE_INVALID")
    new = github((await yard.mill(project.id)).key, body, delivery=delivery)
    assert (await yard.send(project.id, new, body))[0] == 201  # who proves nothing uses up no id


async def test_a_flood_of_bad_signatures_is_counted_and_leaves_nothing_in_the_log(yard: Yard, erin: int) -> None:
    project = await yard.project(erin)
    body = push(login="octo-erin")
    async with mongo(yard.stage.settings, "test") as client:
        commits = database_of(client, yard.stage.settings, "projects")["commits"]
        before = await commits.count_documents({})
        flood = [yard.send(project.id, github("guess", body), body, gateway=place % 2) for place in range(50)]
        assert {answer[0] for answer in await asyncio.gather(*flood)} == {401}
        assert await commits.count_documents({}) == before
    shown = await yard.deliveries(project.id, per_page="100")
    assert 10 <= len(shown) <= 20  # the minute may have changed meanwhile
    assert {(one["decision"], one["code"]) for one in shown} == {("REFUSED", "WEBHOOK_SIGNATURE_INVALID")}
    assert len(shown) + sum(one["unrecorded"] for one in shown) == 50
    assert max(one["refused_total"] for one in shown) == 50
    assert await yard.events(project.id) == []


async def test_refused_deliveries_stand_between_the_others_page_by_page(yard: Yard, erin: int) -> None:
    project = await yard.project(erin)
    body = push(login="octo-erin")
    for number in range(12):
        key = "guess" if number % 3 == 1 else project.key
        await yard.send(project.id, github(key, body, "ping" if number % 3 else "issues"), body)
    whole = await yard.deliveries(project.id, per_page="100")
    assert [one["decision"] for one in whole] == ["IGNORED", "REFUSED", "IGNORED"] * 4
    for size in (1, 2, 5, 7):
        pages = [await yard.deliveries(project.id, per_page=str(size), page=str(page + 1)) for page in range(13)]
        assert [one for page in pages for one in page] == whole
    filtered = {"decision[eq]": "REFUSED", "event[eq]": "ping", "per_page": "3"}
    only = await yard.deliveries(project.id, **filtered)
    assert only == [one for one in whole if one["decision"] == "REFUSED"][:3]
    one = await yard.gateways[0].get(f"/api/admin/deliveries/{only[0]['id']}", headers=yard.admin)
    assert one.json() == only[0]


async def test_the_ring_of_refused_deliveries_is_bounded(
    yard: Yard, mill: Mill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "MAX_NEW_PER_MINUTE", 1000)
    project = await yard.project()
    for _ in range(refusals.KEPT_PER_PROJECT + 5):
        await yard.send(project.id, gitlab("guess"), b"{")
    shown = await yard.deliveries(project.id, per_page="100")
    assert [one["refused_total"] for one in shown] == list(range(25, 5, -1))


@pytest.fixture
async def seen(yard: Yard) -> AsyncIterator[list[bytes]]:
    """All that crosses the bus."""
    messages: list[bytes] = []

    async def note(message: Msg) -> None:
        messages.append(message.data)

    subscription = await yard.bus.subscribe(">", cb=note)
    yield messages
    await subscription.unsubscribe()


async def test_the_body_of_a_stranger_does_not_cross_the_bus(yard: Yard, erin: int, seen: list[bytes]) -> None:
    project = await yard.project(erin)
    body = push(login="octo-erin", padding="x" * 1_000_000)
    seen.clear()
    for headers in (github("guess", body), gitlab("guess"), {"X-GitHub-Event": "push"}):
        assert refused(await yard.send(project.id, headers, body)) == (401, "WEBHOOK_SIGNATURE_INVALID")
    assert refused(await yard.send(project.id, {}, body))[0] == 400
    await yard.bus.flush()
    assert seen
    assert max(map(len, seen)) < 10_000
    (newest, *_) = await yard.deliveries(project.id)
    assert newest["body_size"] == len(body)


async def test_the_signature_key_does_not_cross_the_bus_in_clear(yard: Yard, erin: int, seen: list[bytes]) -> None:
    project = await yard.project(erin)
    body = push(login="octo-erin")
    seen.clear()
    assert (await yard.send(project.id, github(project.key, body), body))[0] == 201
    await yard.bus.flush()
    assert any(b"encrypted" in message for message in seen)
    assert not [message for message in seen if project.key.encode() in message]


async def test_a_service_of_0_2_0_checks_the_signature_itself(repository: Path, tmp_path: Path) -> None:
    new = (GetDeliveryKey, RefuseDelivery)
    answers = {message: answer for message, answer in projects.answers.items() if message not in new}
    older = replace(projects, answers=answers)
    with servers_in(tmp_path) as servers:
        async with opened_yard(servers, repository, tmp_path, older) as yard:
            erin = await yard.user(github_username="octo-erin")
            project = await yard.project(erin)
            body = push(login="octo-erin")
            assert refused(await yard.send(project.id, github("guess", body), body)) == (
                401,
                "WEBHOOK_SIGNATURE_INVALID",
            )
            assert (
                ignored(await yard.send(project.id, github(project.key, body, "ping"), body)) == "WEBHOOK_EVENT_IGNORED"
            )


async def test_a_body_beyond_the_limit_is_refused_and_one_below_is_not(yard: Yard, erin: int) -> None:
    project = await yard.project(erin)
    limit = 5 * 1024 * 1024
    body = push(login="octo-erin", padding="")
    large = push(login="octo-erin", padding="x" * (limit - len(body)))
    assert len(large) == limit
    assert (await yard.send(project.id, github(project.key, large), large))[0] == 201
    beyond = large + b" "
    answer = await yard.send(project.id, github(project.key, beyond), beyond)
    assert refused(answer) == (413, "REQUEST_TOO_LARGE")


# ---- once


@pytest.mark.parametrize("provider", ["github", "gitlab", "gitlab by key"])
async def test_a_delivery_that_comes_again_is_answered_as_before(yard: Yard, erin: int, provider: str) -> None:
    project = await yard.project(erin)
    if provider == "github":
        body = push(login="octo-erin")
        again = [github(project.key, body, delivery="72d3162e")] * 2
    else:
        body = gitlab_push(ELSEWHERE, username="tanuki-erin")
        key = {"Idempotency-Key": "f5e5f430"} if provider == "gitlab by key" else {"X-Gitlab-Event-UUID": "13792a34"}
        again = [gitlab(project.key) | key for _ in range(2)]
    answers = [await yard.send(project.id, headers, body, gateway=place) for place, headers in enumerate(again)]
    assert answers[0] == answers[1]
    assert answers[0][0] == 201
    await yard.caller.tell(ChangeBranch(project_id=project.id, branch="release"), actor=ROOT)
    assert await yard.send(project.id, again[0], body) == answers[0]
    [_build] = await eventually(lambda: yard.builds(project.id), bool, within=30)
    assert len(await yard.deliveries(project.id)) == 1


async def test_of_equal_deliveries_at_once_one_is_recorded_and_built(yard: Yard, erin: int) -> None:
    project = await yard.project(erin)
    body = push(login="octo-erin")
    headers = github(project.key, body)
    answers = await asyncio.gather(*(yard.send(project.id, headers, body, gateway=place % 2) for place in range(12)))
    assert {status for status, _ in answers} == {201}
    assert len({answer["executor_id"] for _, answer in answers}) == 1
    [_build] = await eventually(lambda: yard.builds(project.id), bool, within=30)
    assert len(await yard.deliveries(project.id)) == 1


async def test_the_same_id_is_another_delivery_for_another_project_and_none_for_another_body(
    yard: Yard, erin: int
) -> None:
    one, other = await yard.project(erin), await yard.project(erin)
    body, changed = push(login="octo-erin"), push(login="octo-erin", after="2" * 40)
    first = await yard.send(one.id, github(one.key, body, delivery="same"), body)
    second = await yard.send(other.id, github(other.key, body, delivery="same"), body)
    assert (first[0], second[0]) == (201, 201)
    assert first[1]["executor_id"] != second[1]["executor_id"]
    third = await yard.send(one.id, github(one.key, changed, delivery="same"), changed)
    assert refused(third) == (422, "IDEMPOTENCY_KEY_REUSED")


async def test_deliveries_without_an_id_are_each_their_own(yard: Yard, erin: int) -> None:
    project = await yard.project(erin)
    body = push(login="octo-erin")
    headers = github(project.key, body)
    del headers["X-GitHub-Delivery"]
    answers = [await yard.send(project.id, headers, body) for _ in range(2)]
    assert len({answer["executor_id"] for _, answer in answers}) == 2


# ---- afterwards


async def test_deliveries_are_for_administrators(yard: Yard, mill: Mill) -> None:
    paths = [f"/api/admin/projects/{mill.id}/deliveries", f"/api/admin/deliveries/{uuid4()}"]
    assert [(await yard.gateways[0].get(path)).status_code for path in paths] == [401, 401]
    answers = [
        await yard.gateways[0].get(path, headers=yard.admin)
        for path in ("/api/admin/projects/999999/deliveries", paths[1])
    ]
    assert [answer.json()["message"] for answer in answers] == ["PROJECT_NOT_FOUND", "DELIVERY_NOT_FOUND"]


async def test_deliveries_come_newest_first_page_by_page_and_filtered(yard: Yard, erin: int) -> None:
    project = await yard.project(erin)
    for branch in ("one", "main", "two"):
        body = push(f"refs/heads/{branch}", login="octo-erin")
        await yard.send(project.id, github(project.key, body), body)
    refs = [one["ref"] for one in await yard.deliveries(project.id)]
    assert refs == ["refs/heads/two", "refs/heads/main", "refs/heads/one"]
    assert [one["ref"] for one in await yard.deliveries(project.id, per_page="2", page="2")] == ["refs/heads/one"]
    chosen = await yard.deliveries(project.id, **{"decision[eq]": "ACCEPTED"})
    assert [one["ref"] for one in chosen] == ["refs/heads/main"]


async def test_neither_keys_nor_names_of_senders_are_readable_in_the_log_or_on_the_bus(yard: Yard) -> None:
    project = await yard.project()
    body = push(login="octo-canary")
    await yard.send(project.id, github(project.key, body), body)
    await yard.send(project.id, gitlab(project.key), gitlab_push(ELSEWHERE, username="octo-canary"))
    await yard.send(project.id, gitlab("token-canary"), gitlab_push(ELSEWHERE))
    await eventually(lambda: yard.events(project.id), lambda names: len(names) == 2, within=10)
    async with mongo(yard.stage.settings, "test") as client:
        database = database_of(client, yard.stage.settings, "projects")
        told = [
            str(one) for name in ("commits", "streams", "refused_deliveries") async for one in database[name].find({})
        ]
    told += [one.data.decode() for one in await stored(yard.bus, "projects")]
    words = ("canary", project.key or "-", signed(project.key, body))
    assert [word for word in words for one in told if word in one] == []


async def test_a_deleted_project_takes_its_deliveries_along(yard: Yard, erin: int) -> None:
    project = await yard.project(erin)
    body = push(login="octo-erin")
    _, answer = await yard.send(project.id, github(project.key, body), body)
    assert await yard.caller.ask(GetRequestBody(delivery_id=answer["delivery_id"])) == body
    await yard.caller.tell(DeleteProject(project_id=project.id), actor=ROOT)
    path = f"/api/admin/deliveries/{answer['delivery_id']}"
    assert (await yard.gateways[0].get(path, headers=yard.admin)).json()["message"] == "DELIVERY_NOT_FOUND"
    body_of = GetRequestBody(delivery_id=answer["delivery_id"])
    await eventually(lambda: yard.caller.ask(body_of), lambda kept: kept == b"", within=20)


async def test_a_build_that_is_over_needs_no_body_any_more(yard: Yard, erin: int) -> None:
    project = await yard.project(erin, branch="main")
    body = push(login="octo-erin")  # of a commit that does not exist: the build fails in the planner
    _, answer = await yard.send(project.id, github(project.key, body), body)
    build = await eventually(lambda: yard.build(answer["executor_id"]), lambda build: build.finished, within=20)
    assert build.exit_code == 128
    body_of = GetRequestBody(delivery_id=answer["delivery_id"])
    await eventually(lambda: yard.caller.ask(body_of), lambda kept: kept == b"", within=20)


async def test_what_was_accepted_is_built_although_nobody_could_be_told(repository: Path, tmp_path: Path) -> None:
    """As if the process had died between recording and queueing: only the log knows of the build."""
    with servers_in(tmp_path / "servers") as servers:
        async with opened_yard(servers, repository, tmp_path / "data") as yard:
            ivan = await yard.user(github_username="octo-ivan")
            project = await yard.project(ivan)
            body = push(login="octo-ivan", after=git(repository, "rev-parse", "main"))
            headers = github(project.key, body)
            status, answer = await yard.send(project.id, headers, body)
            assert (status, answer["decision"]) == (201, "ACCEPTED")
            with pytest.raises(Refused, match="SERVICE_UNAVAILABLE"):
                await yard.build(answer["executor_id"])
            async with yard.stage.running(lambda: builds):
                await eventually(lambda: yard.builds(project.id), bool, within=30)
                assert await yard.send(project.id, headers, body, gateway=1) == (status, answer)
                build = await yard.build(answer["executor_id"])
                assert (build.initiator_id, build.delivery_id) == (ivan, answer["delivery_id"])
                assert len(await yard.builds(project.id)) == 1
