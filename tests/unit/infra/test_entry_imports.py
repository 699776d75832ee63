"""The entry points import no heavy libraries, because the supervisor and the agent would keep them in memory."""

import subprocess
import sys

HEAVY_PACKAGES = {"fastapi", "faststream", "nats", "opentelemetry", "pymongo", "services"}


ENTRY_POINTS = ("infra.entrypoints", "infra.cli", "infra.local.stack_commands")


def test_the_entry_points_do_not_import_the_libraries_of_the_services() -> None:
    program = f"import sys, {', '.join(ENTRY_POINTS)}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    imported = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    assert HEAVY_PACKAGES & set(imported) == set()
