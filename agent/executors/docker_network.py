"""The network of one job: its containers reach each other and the internet, but no private network.

Each container of the job joins the network namespace of a sandbox, a container that the agent starts for it. The
sandbox sets up routing rules before code of the job runs; only it has the capability that changes them. Each service
has its own address and names. Without an image for sandboxes, the containers are attached to the network directly,
without the rules.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from agent.executors.docker_client import DockerClient, DockerError

# Addresses that are not on the internet: private networks, carrier-grade NAT, and link-local addresses, among them the
# metadata services of clouds.
PRIVATE_NETWORKS = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15"),
    *("fc00::/7", "fe80::/10"),
)
READY_LINE = b"headrace: network ready\n"
# The rules deny the address of the network's gateway, which is the engine's machine. The gateway still forwards packets
# for other addresses. DNS servers may have any address: Docker forwards requests from this namespace to the servers of
# the machine.
RULES_SCRIPT = f"""
set -eu
family() {{ case $1 in *:*) [ ! -s /proc/net/if_inet6 ] || echo -6;; *) echo -4;; esac; }}
for family in -4 $(family ::); do
  ip "$family" rule add pref 10 dport 53 lookup main
  set -- $(ip "$family" route show default)
  [ $# -lt 3 ] || ip "$family" rule add pref 20 to "$3" prohibit
  for subnet in $(ip "$family" -o route show scope link | cut -d' ' -f1); do
    case $subnet in fe80*|default) ;; *) ip "$family" rule add pref 30 to "$subnet" lookup main;; esac
  done
done
for network in $ALLOWED; do
  [ -z "$(family "$network")" ] || ip "$(family "$network")" rule add pref 15 to "$network" lookup main
done
for network in $DENIED; do
  [ -z "$(family "$network")" ] || ip "$(family "$network")" rule add pref 40 to "$network" prohibit
done
echo '{READY_LINE.decode().strip()}'
exec sleep infinity
"""
CONNECT_SCRIPT = ': > "/dev/tcp/$HOSTNAME/$1"'


class JobNetwork:
    def __init__(
        self, client: DockerClient, name: str, labels: Mapping[str, str], sandbox_image: str, allowed: Iterable[str]
    ) -> None:
        """`sandbox_image` has bash and iproute2; without it, no rules apply. Jobs may reach the networks `allowed`."""
        self._client = client
        self._name = name
        self._labels = dict(labels)
        self._sandbox_image = sandbox_image
        self._allowed = allowed
        self._sandboxes: dict[str, str] = {}  # container name -> id of its sandbox

    async def create(self) -> None:
        await self._client.create_network(self._name, self._labels)

    async def endpoint(self, name: str, aliases: list[str]) -> dict[str, Any]:
        """Return the network part of the description of the container `name`, which is reachable by its aliases.

        Starts the container's sandbox if an image for sandboxes is set.
        """
        attached = {
            "HostConfig": {"NetworkMode": self._name},
            "NetworkingConfig": {"EndpointsConfig": {self._name: {"Aliases": aliases}}},
        }
        if not self._sandbox_image:
            return attached
        self._sandboxes[name] = await self._start_sandbox(f"{name}-network", attached)
        return {"HostConfig": {"NetworkMode": f"container:{self._sandboxes[name]}"}}

    async def accepts_connections(self, name: str, container: Any, port: int) -> bool:
        """Return whether a container, given as its `docker inspect` object, accepts connections on the port."""
        try:
            async with asyncio.timeout(1):
                if name in self._sandboxes:
                    command = ["bash", "-c", CONNECT_SCRIPT, "bash", str(port)]
                    return await self._client.execute(self._sandboxes[name], command, lambda _: None) == 0
                address = container["NetworkSettings"]["Networks"][self._name]["IPAddress"]
                _, writer = await asyncio.open_connection(address, port)
        except OSError:  # including a timeout
            return False
        writer.close()
        return True

    async def _start_sandbox(self, name: str, attached: Mapping[str, Any]) -> str:
        limits = {
            "Memory": 64 * 1024 * 1024,
            "PidsLimit": 64,
            "CapDrop": ["ALL"],
            "CapAdd": ["NET_ADMIN"],
            "SecurityOpt": ["no-new-privileges"],
            "ReadonlyRootfs": True,
        }
        description = {
            "Image": self._sandbox_image,
            "Labels": self._labels,
            "User": "0",
            "Entrypoint": ["bash", "-c", RULES_SCRIPT],
            "Cmd": [],
            "Env": [f"ALLOWED={' '.join(self._allowed)}", f"DENIED={' '.join(PRIVATE_NETWORKS)}"],
            "Healthcheck": {"Test": ["NONE"]},
            **attached,
            "HostConfig": {**limits, **attached["HostConfig"]},
        }
        sandbox = await self._client.create_container(name, description)
        await self._client.start_container(sandbox)
        output = b""
        async for chunk in self._client.logs(sandbox, follow=True):
            output += chunk
            if output.endswith(READY_LINE):
                return sandbox
        raise DockerError(f"the network of the job could not be set up: {output.decode(errors='replace').strip()}")
