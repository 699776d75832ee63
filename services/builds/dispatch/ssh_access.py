"""How git reaches a repository with an SSH key in a job, on any runner that writes file variables and exports the rest.

GitLab's runner writes a file variable with mode 0644 or 0666, which ssh refuses, again in every stage of a job and in
containers as whatever user these have. So ssh gets a copy of mode 0600 that lives as long as the command. Headrace's
agent keeps the key in memory, and its path can be used as it is.
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


def ssh_variables(ssh_key: str, own: Collection[str]) -> Iterator[JobVariable]:
    """Yield the key and, unless the job has a GIT_SSH_COMMAND of its `own`, the command that uses it."""
    # ssh refuses a key whose last line has no end
    yield JobVariable(key=SSH_KEY, value=ssh_key.removesuffix("\n") + "\n", masked=True, file=True)
    if "GIT_SSH_COMMAND" not in own:
        yield JobVariable(key="GIT_SSH_COMMAND", value=COMMAND)
        yield JobVariable(key="GIT_SSH_VARIANT", value="ssh")  # git knows no other way that the command is OpenSSH's
