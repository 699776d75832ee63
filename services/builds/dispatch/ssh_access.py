"""SSH access to the repository in a job, for any runner that supports file variables.

GitLab's runner writes file variables with mode 0644 or 0666 in every stage of a job, and ssh rejects such a key. The
variable GIT_SSH_COMMAND therefore uses a temporary copy with mode 0600. If Headrace's agent keeps the key in memory,
the key has a path below /proc, which is used directly.
"""

from collections.abc import Collection, Iterator

from contracts.builds import JobVariable
from libs.git_env import SSH_OPTIONS

SSH_KEY = "HEADRACE_SSH_KEY"
COMMAND = f"""headrace_ssh() {{
  case ${{{SSH_KEY}:-}} in
    '') ssh "$@" ;;
    /proc/*) ssh -i "${SSH_KEY}" {SSH_OPTIONS} "$@" ;;
    *)
      headrace_key=$(mktemp "${SSH_KEY}.XXXXXX") || return
      trap 'rm -f "$headrace_key"' EXIT
      trap 'exit 129' HUP; trap 'exit 130' INT; trap 'exit 143' TERM
      cat "${SSH_KEY}" >"$headrace_key" && ssh -i "$headrace_key" {SSH_OPTIONS} "$@" ;;
  esac
}}; headrace_ssh"""


def ssh_variables(ssh_key: str, variable_names: Collection[str]) -> Iterator[JobVariable]:
    """Yield the variable with the key and, unless the job sets GIT_SSH_COMMAND, the command that uses the key."""
    # ssh rejects a key without a final newline
    yield JobVariable(key=SSH_KEY, value=ssh_key.removesuffix("\n") + "\n", masked=True, file=True)
    if "GIT_SSH_COMMAND" not in variable_names:
        yield JobVariable(key="GIT_SSH_COMMAND", value=COMMAND)
        yield JobVariable(key="GIT_SSH_VARIANT", value="ssh")  # git cannot detect that the command behaves like OpenSSH
