"""Fake services, gateway and agent, which start faster than the real ones in tests of the local stack.

The stack runs this module in place of `headrace`, with the same arguments. These commands run the real code: `up`,
`supervise`, `connected`, `fork-server`, and `migrate --embedded-mongodb`.
"""

import json
import os
import socket
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

COMMAND = (sys.executable, __file__)


class HealthHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Send the environment of this process: for a forked process, /proc shows the fork server's environment."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(dict(os.environ)).encode())

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


def serve_health() -> None:
    HTTPServer(("127.0.0.1", int(os.environ["HEADRACE_HEALTH_PORT"])), HealthHandler).serve_forever()


def run_command(arguments: list[str]) -> None:
    from infra import entrypoints  # imported only here, because the fake processes start faster without these modules
    from infra.local import stack_commands
    from libs.settings import Settings

    match arguments:
        case ["up"]:
            entrypoints.exit_with_message(lambda: sys.exit(stack_commands.start_detached(COMMAND)))
        case ["supervise", *options]:
            entrypoints.exit_with_message(
                lambda: stack_commands.supervise(detached="--detached" in options, python=COMMAND)
            )
        case ["connected"]:
            entrypoints.exit_with_message(lambda: stack_commands.connect_to_stack("migrate"))
            Settings.from_environment(os.environ).require_servers()
            sys.stdout.write(os.environ["HEADRACE_NATS_URL"])


def main(arguments: list[str]) -> None:
    match arguments:
        case ["up" | "supervise" | "connected", *_]:
            run_command(arguments)
        case ["service", name] if name == os.environ.get("BROKEN_SERVICE"):
            raise RuntimeError(f"{name} is configured to fail")
        case ["gateway"]:
            with socket.socket() as shared:
                shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                shared.bind(("127.0.0.1", int(os.environ["HEADRACE_PORT"])))
                shared.listen()
                serve_health()
        case ["fork-server"]:
            from infra.local import fork_server

            main(fork_server.serve(lambda: None))
        case ["register-local-agent"]:
            Path(os.environ["HEADRACE_AGENT_CONFIG"]).write_text("{}")
        case ["migrate", "--embedded-mongodb", *ports]:
            from infra.replica_set import wait_until_primary

            wait_until_primary(list(map(int, ports)))
        case ["migrate"]:
            pass
        case _:
            serve_health()


if __name__ == "__main__":
    main(sys.argv[1:])
