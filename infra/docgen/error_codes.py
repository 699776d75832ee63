"""docs/ERRORS.md: every error code with its status and its meaning."""

from contracts.errors import CODES
from contracts.projects import IGNORE_REASONS

HEADER = """# Error codes

Written by `make docs` from `contracts/errors.py`. Every error answer has the same body; `message` is the code and
stays the same for ever, `detail` says more in words, and `trace_id` leads to the server's log:

```json
{"timestamp": "2026-01-31T12:00:00.000Z", "status": 404, "error": "Not Found", "message": "PROJECT_NOT_FOUND",
 "path": "/api/admin/projects/7", "detail": "There is no such project.", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}
```

| code | status | meaning |
| --- | --- | --- |
"""


IGNORED_HEADER = """
A webhook that is genuine and builds nothing is no error: the status is 200, `decision` is `IGNORED` and `code` one of

| code | meaning |
| --- | --- |
"""


def render() -> str:
    errors = "".join(f"| `{name}` | {code.status} | {code.summary} |\n" for name, code in CODES.items())
    return (
        HEADER
        + errors
        + IGNORED_HEADER
        + "".join(f"| `{name}` | {meaning} |\n" for name, meaning in IGNORE_REASONS.items())
    )
