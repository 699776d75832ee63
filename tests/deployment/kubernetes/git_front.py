"""A git server in a pod: one sample repository behind `git http-backend`.

It uses only the standard library, because the pod does not contain the packages of the tests.
"""

import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path("/tmp/git")  # noqa: S108  the pod's own
SPEC = 'version: "1.0"\nfrom: debian:12\nsteps:\n  - {name: "@nothing", script: /ci/nothing.sh}\n'
ENVIRONMENT = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_PROJECT_ROOT": str(ROOT), "GIT_HTTP_EXPORT_ALL": "1"}


class Front(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        variables = {
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        command = ["git", "http-backend"]
        response = subprocess.run(command, input=body, env=ENVIRONMENT | variables, stdout=subprocess.PIPE, check=True)
        head, _, content = response.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # without a handler, process 1 ignores signals
    repository = ROOT / "sample"
    (repository / "ci").mkdir(parents=True)
    (repository / "ci" / "nothing.sh").write_text("echo done\n")
    (repository / "headrace.yaml").write_text(SPEC)
    author = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    for command in (("init", "-q", "-b", "main"), ("add", "."), (*author, "commit", "-q", "-m", "a commit")):
        subprocess.run(["git", *command], cwd=repository, env=ENVIRONMENT, check=True)
    ThreadingHTTPServer(("", 8000), Front).serve_forever()


if __name__ == "__main__":
    main()
