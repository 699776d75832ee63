"""A small reimplementation of GitLab Runner's shell executor: its git commands, variable files and scripts.

Source: `shells/abstract.go`, `shells/bash.go` and `helpers/shell_escape.go` of gitlab-runner 14 to 18.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LITERAL_BYTES = frozenset(b",-./0123456789@ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz")
QUOTED_BYTES = frozenset(b' !"#$%&()*+:;<=>?[]^`{|}~')
NAMED_ESCAPES = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 39: "\\'", 92: "\\\\"}
ESCAPES = [
    chr(byte) if byte in LITERAL_BYTES or byte in QUOTED_BYTES else NAMED_ESCAPES.get(byte, f"\\x{byte:02x}")
    for byte in range(256)
]

Job = Mapping[str, Any]


def shell_escape(text: str) -> str:
    content = text.encode()
    escaped = "".join(map(ESCAPES.__getitem__, content))
    return escaped if content and LITERAL_BYTES.issuperset(content) else f"$'{escaped}'"


@dataclass(frozen=True)
class GitLabClient:
    """A machine that runs jobs as GitLab Runner does. Its builds folder is kept from job to job."""

    folder: Path
    environment: Mapping[str, str]

    @property
    def checkout(self) -> Path:
        return self.folder / "project"

    def get_sources(self, job: Job) -> "subprocess.CompletedProcess[bytes]":
        source = job["git_info"]
        fetch = ["git", "-c", "http.userAgent=gitlab-runner 18.5.0 linux/amd64", "fetch", "origin", *source["refspecs"]]
        fetch += ["--depth", str(source["depth"])] if source["depth"] > 0 else []
        url = shell_escape(source["repo_url"])
        commands = [
            f"git init {shell_escape(str(self.checkout))}",
            f"cd {shell_escape(str(self.checkout))}",
            f"if git remote add origin {url} >/dev/null 2>&1; then",
            "  echo created",
            "else",
            f"  git remote set-url origin {url}",
            "fi",
            " ".join(map(shell_escape, [*fetch, "--prune", "--quiet"])),
            f"git checkout -f -q {source['sha']}",
            "git clean -ffdx",
        ]
        return self.run_bash(self.build_stage_script(job, commands))

    def run_script(self, job: Job, name: str = "script") -> "subprocess.CompletedProcess[bytes]":
        (step,) = (step for step in job["steps"] if step["name"] == name)
        lines = []
        for command in step["script"]:
            first, *more = command.strip().split("\n", 1)
            lines += [
                f"echo {shell_escape(f'$ {first}' + (' # collapsed multi-line command' if more else ''))}",
                command,
            ]
        return self.run_bash(self.build_stage_script(job, [f"cd {shell_escape(str(self.checkout))}", *lines]))

    def build_stage_script(self, job: Job, commands: Sequence[str]) -> str:
        """Return the script of one stage. It starts by exporting all job variables."""
        program = "\n".join([*self._export_commands(job), *commands]) + "\n"
        return (
            "#!/usr/bin/env bash\n\ntrap exit 1 TERM\n\n"
            "if set -o | grep pipefail > /dev/null; then set -o pipefail; fi; set -o errexit\nset +o noclobber\n"
            f": | eval {shell_escape(program)}\nexit 0\n"
        )

    def _export_commands(self, job: Job) -> Sequence[str]:
        temporary = f"{self.checkout}.tmp"
        lines = [f"export CI_PROJECT_DIR={shell_escape(str(self.checkout))}"]
        for variable in job["variables"]:
            key, value = shell_escape(variable["key"]), shell_escape(variable["value"])
            if variable["file"]:
                file = f'"{temporary}/{variable["key"]}"'
                lines += [f'mkdir -p "{temporary}"', f"printf '%s' {value} > {file}", f"export {key}={file}"]
            else:
                lines.append(f"export {key}={value}")
        return lines

    def run_bash(self, script: str) -> "subprocess.CompletedProcess[bytes]":
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8"} | dict(self.environment)
        self.folder.mkdir(parents=True, exist_ok=True)
        return subprocess.run(
            ["bash"],
            input=script.encode(),
            cwd=self.folder,
            env=environment,
            capture_output=True,
            check=False,
            umask=0o022,
        )
