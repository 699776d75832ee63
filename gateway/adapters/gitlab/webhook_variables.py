"""The body of the webhook that launched a build, as variables of its jobs.

GitLab's runner quotes file variables for a shell, twice, in every stage of a job. bash reads megabytes of quotes in
minutes, so a large body travels packed and the script unpacks it.
"""

import base64
import gzip

from contracts.builds import JobVariable

BODY_VARIABLE = "FREE_COMMIT_REQUEST_BODY"  # as base64
FILE_VARIABLE = f"{BODY_VARIABLE}_FILE"  # the path of a file with the body as it came
MAX_VARIABLE_BYTES = 128 * 1024  # of `NAME=value` that Linux hands to a process
GZIP_BASE64_PREFIX = "H4sI"  # what base64 of gzip begins with, and JSON does not
UNPACK_SCRIPT = f""": 'Unpack the body of the webhook'
if [ "$(head -c 4 "${FILE_VARIABLE}")" = {GZIP_BASE64_PREFIX} ]; then
  if base64 -d <"${FILE_VARIABLE}" | gzip -d >"${FILE_VARIABLE}.unpacked"; then
    mv -f "${FILE_VARIABLE}.unpacked" "${FILE_VARIABLE}"
  else
    echo 'WARNING: The body of the webhook could not be unpacked. base64 and gzip are needed in the image of the job.'
    : >"${FILE_VARIABLE}"
  fi
fi"""


def exceeds_variable_limit(body: bytes) -> bool:
    """Return whether the body fits into no variable of an environment."""
    return len(f"{BODY_VARIABLE}=\0") + (len(body) + 2) // 3 * 4 > MAX_VARIABLE_BYTES


def create_body_variables(body: bytes, *, packed: bool) -> tuple[JobVariable, JobVariable]:
    """Return the file variable, `packed` or as it is, and the plain one, empty if the body is large."""
    encoded = "" if exceeds_variable_limit(body) else base64.b64encode(body).decode()
    content = base64.b64encode(gzip.compress(body, mtime=0)).decode() if packed else body.decode()
    return JobVariable(key=BODY_VARIABLE, value=encoded), JobVariable(key=FILE_VARIABLE, value=content, file=True)
