"""Artifacts at the gateway while the builds are away: nothing is half done, and nobody takes half a file for whole."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from contracts.builds import (
    AppendArtifact,
    Artifact,
    ArtifactUpload,
    BeginArtifact,
    DiscardArtifact,
    FinishArtifact,
    GetArtifact,
    ReadArtifact,
)
from contracts.errors import Refused
from gateway.downloads import PIECE
from tests.integration.gateway_stage import Stage, stage
from tests.support.servers import lone_nats

ADDRESS, TOKEN = "/api/v4/jobs/11/artifacts", {"JOB-TOKEN": "job-token"}
BEGUN = ArtifactUpload(artifact_id="a", longest=10 * PIECE)
ARTIFACT = Artifact(
    id="a",
    artifact_type="archive",
    artifact_format="zip",
    file_name="out.zip",
    size=2 * PIECE,
    uploaded_at=datetime(2026, 1, 2, 12, tzinfo=UTC),
)
FILE = {"file": ("out.zip", bytes(2 * PIECE + 5), "application/octet-stream")}


@pytest.fixture(scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    with lone_nats(tmp_path_factory.mktemp("bus")) as server:
        async with stage(server.program.url) as here:
            await here.services.play(BeginArtifact, lambda _: BEGUN)
            await here.services.play(AppendArtifact, lambda _: BEGUN)
            await here.services.play(DiscardArtifact, lambda _: BEGUN)
            await here.services.play(FinishArtifact, lambda _: ARTIFACT)
            await here.services.play(GetArtifact, lambda _: ARTIFACT)
            yield here


def refusing(code: str) -> Callable[[Any], Any]:
    def refuse(_message: Any) -> Any:
        raise Refused(code)

    return refuse


async def test_a_file_reaches_the_builds_in_pieces_that_the_bus_takes(here: Stage) -> None:
    answer = await here.http.post(ADDRESS, headers=TOKEN, files=FILE)
    assert answer.status_code == 201
    pieces = [one.message for one in here.services.told_of(AppendArtifact)]
    assert [(one.offset, len(one.content)) for one in pieces] == [(0, PIECE), (PIECE, PIECE), (2 * PIECE, 5)]
    (finish,) = here.services.told_of(FinishArtifact)
    assert (finish.message.size, finish.message.file_name) == (2 * PIECE + 5, "out.zip")


async def test_an_upload_that_meets_an_outage_is_given_up_and_may_be_tried_again(here: Stage) -> None:
    here.services.told.clear()
    await here.services.play(AppendArtifact, refusing("SERVICE_UNAVAILABLE"))
    answer = await here.http.post(ADDRESS, headers=TOKEN, files=FILE)
    assert answer.status_code == 503
    assert [one.message.artifact_id for one in here.services.told_of(DiscardArtifact)] == ["a"]
    assert here.services.told_of(FinishArtifact) == []


async def test_a_file_whose_first_piece_is_missing_is_not_begun(here: Stage) -> None:
    await here.services.play(ReadArtifact, refusing("ARTIFACT_NOT_FOUND"))
    assert (await here.http.get(ADDRESS, headers=TOKEN)).status_code == 404


async def test_a_file_that_ends_too_early_breaks_the_connection(here: Stage) -> None:
    def read(query: ReadArtifact) -> str:
        if query.offset:
            raise Refused("SERVICE_UNAVAILABLE")
        return "x" * (PIECE - 2)  # in quotes

    await here.services.play(ReadArtifact, read)
    with pytest.raises(httpx.RemoteProtocolError):
        await here.http.get(ADDRESS, headers=TOKEN)


async def test_a_form_that_goes_on_behind_its_end_is_cut_off(here: Stage) -> None:
    await here.services.play(AppendArtifact, lambda _: BEGUN)
    here.services.told.clear()

    async def body() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="out.zip"\r\n\r\none\r\n--x--\r\n'
        for _ in range(11):
            yield b"more" * (PIECE // 4)

    headers = {**TOKEN, "Content-Type": "multipart/form-data; boundary=x"}
    answer = await here.http.post(ADDRESS, headers=headers, content=body())
    assert answer.status_code == 413
    assert here.services.told_of(FinishArtifact) == []
