"""Detection of the git protocol version a server used, from the trace of a git command (`GIT_TRACE2_EVENT`).

https://git-scm.com/docs/api-trace2 describes the events.
"""

import json
from contextlib import suppress
from pathlib import Path

VERSION_WITHOUT_REFS = 2  # earlier versions serve only commits that a ref names, unless the server allows more


def read_protocol_version(trace: Path) -> int:
    """Return the negotiated version, or 0 if the trace does not contain it."""
    with suppress(OSError, ValueError):
        for line in trace.read_text("utf-8", "replace").splitlines():
            event = json.loads(line)
            if event.get("key") == "negotiated-version":
                return int(event["value"])
    return 0
