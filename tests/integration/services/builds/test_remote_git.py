"""Redirects of git servers, and networks in which servers may be."""

from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from infra.demo.git_server import GitServer as PublicGitServer
from libs.settings import PUBLIC, RepositoryNetwork
from services.builds.planning.git_mirror import GitMirrors
from services.builds.planning.git_process import RepositoryUnreachable
from tests.support.external.git_server import AuthenticatingGitHandler, GitServer
from tests.support.external.repositories import SPEC_FILE, create_sample_repository

ONLY_PUBLIC: tuple[RepositoryNetwork, ...] = (PUBLIC,)


class RenamingHandler(AuthenticatingGitHandler):
    """Redirects each path below /old to the same path below the base URL `moved_to`."""

    def do_GET(self) -> None:  # noqa: N802
        if not self.path.startswith("/old/"):
            super().do_GET()
            return
        self.send_response(301)
        self.send_header("Location", self.server.moved_to + self.path.removeprefix("/old"))
        self.end_headers()

    do_POST = do_GET  # noqa: N815


class RenamedServer(GitServer):
    def __init__(self, root: Path) -> None:
        PublicGitServer.__init__(self, root, handler=RenamingHandler)
        self.login = "ada:secret-of-ada"
        self.moved_to = ""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RenamedServer]:
    create_sample_repository(tmp_path / "root" / "new" / "shop")
    server = RenamedServer(tmp_path / "root")
    with server.run_in_thread():
        yield server


@pytest.mark.parametrize("base", ["", "http://127.0.0.1:{port}"])
async def test_a_repository_that_moved_on_its_server_is_read(server: RenamedServer, tmp_path: Path, base: str) -> None:
    server.moved_to = f"{base.format(port=server.server_port)}/new"
    mirrors = GitMirrors(tmp_path / "mirrors")
    resolved = await mirrors.resolve(server.url("old/shop"), "main")
    assert await mirrors.read_file(server.url("old/shop"), resolved, SPEC_FILE)
    another_replica = GitMirrors(tmp_path / "others")
    assert await another_replica.read_file(server.url("old/shop"), resolved, SPEC_FILE)


@pytest.mark.parametrize(
    "target", ["http://localhost:{port}/new", "http://127.0.0.1:1/new", "http://x@127.0.0.1:{port}/new"]
)
async def test_a_redirect_to_another_server_is_not_followed(server: RenamedServer, tmp_path: Path, target: str) -> None:
    server.moved_to = target.format(port=server.server_port)
    with pytest.raises(RepositoryUnreachable, match=r"^The server redirects to another address"):
        await GitMirrors(tmp_path / "mirrors").resolve(server.url("old/shop"), "main")


async def test_endless_redirects_end(server: RenamedServer, tmp_path: Path) -> None:
    server.moved_to = f"http://127.0.0.1:{server.server_port}/old"
    with pytest.raises(RepositoryUnreachable, match="redirects too often"):
        await GitMirrors(tmp_path / "mirrors").resolve(server.url("old/shop"), "main")


@pytest.mark.parametrize("networks", [ONLY_PUBLIC, (ip_network("10.0.0.0/8"), *ONLY_PUBLIC)])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"])
async def test_a_server_outside_the_allowed_networks_is_not_contacted(
    server: RenamedServer, tmp_path: Path, networks: tuple[RepositoryNetwork, ...], host: str
) -> None:
    url = server.url("new/shop").replace("127.0.0.1", host)
    with pytest.raises(RepositoryUnreachable, match="is not in the networks that this installation allows"):
        await GitMirrors(tmp_path / "mirrors", networks=networks).resolve(url, "main")


@pytest.mark.parametrize("url", ["ssh://git@127.0.0.1/shop.git", "git@127.0.0.1:shop.git"])
async def test_ssh_servers_outside_the_allowed_networks_are_not_contacted(tmp_path: Path, url: str) -> None:
    with pytest.raises(RepositoryUnreachable, match=r"The address 127\.0\.0\.1 of 127\.0\.0\.1 is not in"):
        await GitMirrors(tmp_path / "mirrors", networks=ONLY_PUBLIC).resolve(url, "main")


async def test_a_server_in_an_allowed_network_is_read(server: RenamedServer, tmp_path: Path) -> None:
    mirrors = GitMirrors(tmp_path / "mirrors", networks=(*ONLY_PUBLIC, ip_network("127.0.0.0/8")))
    assert (await mirrors.resolve(server.url("new/shop"), "main")).sha
