"""The body of the webhook that launched a build, as variables of its jobs.

GitLab's runner quotes file variables for a shell, twice, in every stage of a job. bash reads megabytes of quotes in
minutes, so a large body travels packed and the script unpacks it.
"""

import base64
import gzip

from contracts.builds import Variable

NAME = "FREE_COMMIT_REQUEST_BODY"  # as base64
FILE = f"{NAME}_FILE"  # the path of a file with the body as it came
MAX_VARIABLE_BYTES = 128 * 1024  # of `NAME=value` that Linux hands to a process
MAGIC = "H4sI"  # what base64 of gzip begins with, and JSON does not
UNPACK = f""": 'Unpack the body of the webhook'
if [ "$(head -c 4 "${FILE}")" = {MAGIC} ]; then
  if base64 -d <"${FILE}" | gzip -d >"${FILE}.unpacked"; then
    mv -f "${FILE}.unpacked" "${FILE}"
  else
    echo 'WARNING: The body of the webhook could not be unpacked. base64 and gzip are needed in the image of the job.'
    : >"${FILE}"
  fi
fi"""


def is_large(body: bytes) -> bool:
    """Return whether the body fits into no variable of an environment."""
    return len(f"{NAME}=\0") + (len(body) + 2) // 3 * 4 > MAX_VARIABLE_BYTES


def request_variables(body: bytes, *, packed: bool) -> tuple[Variable, Variable]:
    """Return the file variable, `packed` or as it is, and the plain one, empty if the body is large."""
    encoded = "" if is_large(body) else base64.b64encode(body).decode()
    content = base64.b64encode(gzip.compress(body, mtime=0)).decode() if packed else body.decode()
    return Variable(key=NAME, value=encoded), Variable(key=FILE, value=content, file=True)
