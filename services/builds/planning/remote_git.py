"""Git commands against the servers of repositories.

A server may redirect to another path of its host, as after a rename, but not to another host. If the operator names
networks, the server's addresses must be in them. With HTTP, git then connects only to the addresses that were checked.
"""

import asyncio
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import SplitResult, urljoin, urlsplit

from cachetools import LRUCache

from libs import git_env
from libs.security.server_networks import Address, find_refused, resolve_host
from libs.settings import RepositoryNetwork
from services.builds.planning.git_process import LIST_TIMEOUT_SECONDS, RepositoryUnreachable, run_git

MAX_REDIRECTS = 3
MAX_REMEMBERED_REDIRECTS = 1000
DEFAULT_PORTS = {"http": 80, "https": 443, "ssh": 22, "git": 9418}
REDIRECT_ERROR = re.compile(r"The requested URL returned error: 30[1278]\b")
# matches the last Location header of the trace
LOCATION_HEADER = re.compile(r".*Recv header: location: (\S+)", re.IGNORECASE | re.DOTALL)
LISTING_PATH = "/info/refs?service=git-upload-pack"  # path of git's first request, after the repository's URL
SCP_LIKE_URL = re.compile(r"(?:[^@/:]+@)?(\[[^]]+\]|[^/:]+):")


class RemoteGit:
    def __init__(self, networks: Sequence[RepositoryNetwork] = ()) -> None:
        """`networks`: the networks in which servers may be. Empty: all networks."""
        self._networks = tuple(networks)
        self._redirects: LRUCache[str, str] = LRUCache(MAX_REMEMBERED_REDIRECTS)  # URL without credentials -> target

    async def run(
        self,
        url: str,
        ssh_key: str | None,
        seconds: float,
        *arguments: str,
        variables: Mapping[str, str] | None = None,
    ) -> bytes:
        """Run git and return its output. `arguments` contain the URL without its credentials.

        Raises RepositoryUnreachable.
        """
        bare_url, login = git_env.split_credentials(url)
        for _ in range(1 + MAX_REDIRECTS):
            target = self._redirects.get(bare_url, bare_url)
            url = git_env.add_credentials(target, login)
            settings = await self._server_settings(target)
            actual = [target if argument == bare_url else argument for argument in arguments]
            try:
                return await run_git(url, ssh_key, seconds, *actual, settings=settings, variables=variables)
            except RepositoryUnreachable as error:
                self._redirects.pop(bare_url, None)
                if not REDIRECT_ERROR.search(str(error)):
                    raise
                self._redirects[bare_url] = await _find_redirect(url, target, settings)
        raise RepositoryUnreachable("The repository's server redirects too often.")

    async def _server_settings(self, url: str) -> dict[str, str]:
        """Return git's settings for the server of `url`. Raises RepositoryUnreachable if its address is not allowed."""
        settings = {"http.followRedirects": "false"}
        if self._networks and not git_env.is_local_url(url):
            host, port = _server_of(url)
            addresses = await _resolve(host, port)
            if refused := find_refused(addresses, self._networks):
                raise RepositoryUnreachable(
                    f"The address {refused} of {host} is not in the networks that this installation allows for "
                    "repositories (HEADRACE_REPOSITORY_NETWORKS)."
                )
            # git connects to the checked addresses even if the name resolves to others by then; ssh resolves it again
            settings["http.curloptResolve"] = f"{host}:{port}:{','.join(map(str, addresses))}"
        return settings


async def _find_redirect(url: str, bare_url: str, settings: Mapping[str, str]) -> str:
    """Return the URL to which the server redirects. Raises RepositoryUnreachable if it is on another host."""
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace")
        variables = {"GIT_TRACE_CURL": str(trace), "GIT_TRACE_CURL_NO_DATA": "1"}
        try:
            await run_git(
                url, None, LIST_TIMEOUT_SECONDS, "ls-remote", "--", bare_url, settings=settings, variables=variables
            )
        except RepositoryUnreachable:
            found = LOCATION_HEADER.match(await asyncio.to_thread(trace.read_text, "utf-8", "replace"))
        else:
            return bare_url  # the redirect was temporary
    location: str = found[1] if found else ""
    source, target = urlsplit(bare_url), urlsplit(urljoin(f"{bare_url}{LISTING_PATH}", location))
    if not _is_same_server(source, target) or not target.geturl().endswith(LISTING_PATH):
        raise RepositoryUnreachable(
            f"The server redirects to another address ({target.hostname or 'unknown'}). Check the repository's URL."
        )
    return target.geturl().removesuffix(LISTING_PATH)


def _is_same_server(source: SplitResult, target: SplitResult) -> bool:
    """Return whether the target has the same host and port, or uses HTTPS on the same host instead of HTTP."""
    if source.hostname != target.hostname or "@" in target.netloc:
        return False
    is_upgrade = (source.scheme, target.scheme) == ("http", "https")
    return is_upgrade or (source.scheme == target.scheme and _port_of(source) == _port_of(target))


def _server_of(url: str) -> tuple[str, int]:
    """Return host and port of `https://host/path`, `ssh://user@host:port/path` or `user@host:path`."""
    parts = urlsplit(url)
    if parts.hostname:
        return parts.hostname, _port_of(parts)
    scp_like = SCP_LIKE_URL.match(url)
    if scp_like is None:
        raise RepositoryUnreachable("The repository's URL names no server.")
    return scp_like[1].strip("[]"), DEFAULT_PORTS["ssh"]


def _port_of(parts: SplitResult) -> int:
    return parts.port or DEFAULT_PORTS.get(parts.scheme, 0)


async def _resolve(host: str, port: int) -> list[Address]:
    try:
        return await resolve_host(host, port)
    except OSError as error:
        raise RepositoryUnreachable(f"Could not resolve host {host}: {error.strerror}.") from None
