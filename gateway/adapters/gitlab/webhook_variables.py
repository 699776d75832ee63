"""The body of the webhook that launched a build, as variables of its jobs.

GitLab's runner shell-quotes file variables twice in every stage of a job, and bash takes minutes to parse megabytes of
quoted text. Large bodies are therefore sent compressed, and the job's script decompresses them.
"""

import base64
import gzip

from contracts.builds import JobVariable

BODY_VARIABLE = "FREE_COMMIT_REQUEST_BODY"  # the body in base64
FILE_VARIABLE = f"{BODY_VARIABLE}_FILE"  # path of a file with the unchanged body
MAX_VARIABLE_BYTES = 128 * 1024  # Linux limit of one `NAME=value` in an environment
GZIP_BASE64_PREFIX = "H4sI"  # base64 of the gzip header; no JSON begins so
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
    """Return whether the body in base64 is too large for an environment variable."""
    return len(f"{BODY_VARIABLE}=\0") + (len(body) + 2) // 3 * 4 > MAX_VARIABLE_BYTES


def create_body_variables(body: bytes, *, packed: bool) -> tuple[JobVariable, JobVariable]:
    """Return the variable with the body in base64, empty if the body is too large, and the file variable.

    `packed`: compress the content of the file variable.
    """
    encoded = "" if exceeds_variable_limit(body) else base64.b64encode(body).decode()
    content = base64.b64encode(gzip.compress(body, mtime=0)).decode() if packed else body.decode()
    return JobVariable(key=BODY_VARIABLE, value=encoded), JobVariable(key=FILE_VARIABLE, value=content, file=True)
