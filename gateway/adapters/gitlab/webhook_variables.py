"""Job variables with the body of the webhook that launched the build.

GitLab's runner shell-quotes file variables twice in every stage of a job, and bash takes minutes to parse megabytes of
quoted text. Large bodies are therefore sent compressed, and the job's script decompresses them.
"""

import base64
import gzip

from contracts.builds import JobVariable

BODY_VARIABLE = "FREE_COMMIT_REQUEST_BODY"  # the body in base64
FILE_VARIABLE = f"{BODY_VARIABLE}_FILE"  # path of a file with the unchanged body
MAX_VARIABLE_BYTES = 128 * 1024  # Linux limits each `NAME=value` of an environment to this size
GZIP_BASE64_PREFIX = "H4sI"  # start of gzip data in base64; no JSON begins with it
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
    """Return two variables: the body in base64 (empty if it is too large), and a file variable with the body.

    `packed`: compress the content of the file variable; UNPACK_SCRIPT decompresses it in the job.
    """
    encoded = "" if exceeds_variable_limit(body) else base64.b64encode(body).decode()
    content = base64.b64encode(gzip.compress(body, mtime=0)).decode() if packed else body.decode()
    return JobVariable(key=BODY_VARIABLE, value=encoded), JobVariable(key=FILE_VARIABLE, value=content, file=True)
