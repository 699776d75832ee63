"""Which version of git's protocol a server spoke, from the events of a git command (`GIT_TRACE2_EVENT`).

https://git-scm.com/docs/api-trace2 describes the events.
"""

import json
from contextlib import suppress
from pathlib import Path

VERSION_WITHOUT_REFS = 2  # before it a client may ask for what refs name, and for more only where the server allows it


def read_protocol_version(trace: Path) -> int:
    """Return the version that was agreed on; 0 where the trace does not say."""
    with suppress(OSError, ValueError):
        for line in trace.read_text("utf-8", "replace").splitlines():
            event = json.loads(line)
            if event.get("key") == "negotiated-version":
                return int(event["value"])
    return 0
