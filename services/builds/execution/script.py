"""Shell programs of a job: POSIX sh that starts one bash, which sources the scripts of the steps in order.

Each step is enclosed in section markers. Their names contain the nonce of the attempt, so that output of a script
cannot be mistaken for a marker. A background process enforces the time limit of a step.

`exit n` in a script ends the job with exit code n. If a script is missing or its last command fails, the program exits
with 208, and the build gets exit code 2000 ("Custom deployment error"). A process can return only the low eight bits
of an exit code: 208 for 2000.

Cleanup steps are a separate program for the runner's after_script. That program runs in the same folder with the same
job variables, but in a new shell.
"""

import shlex
from collections.abc import Iterator, Sequence

from contracts.builds import PlannedStep
from libs.section_markers import format_section_name

STEP_FAILED_EXIT_CODE = 208
STEP_TIMEOUT_EXIT_CODE = 124
TIMEOUT_SUFFIX = b"timeout"  # suffix of the section name in the end marker of a step that timed out
CLEANUP_TIMEOUT_SECONDS = 300

PRELUDE = r"""
headrace_root=$PWD
headrace_section=
headrace_time() {
  printf -v headrace_now '%(%s)T' -1
  case ${EPOCHREALTIME-} in
    *[.,]??????) headrace_now=${EPOCHREALTIME%???} headrace_now=${headrace_now/[.,]/} ;;
  esac
}
headrace_open() {
  headrace_section=$1
  headrace_time
  printf 'section_start:%s:%s\r\033[0K%s\n' "$headrace_now" "$1" "$2"
}
headrace_watch=
headrace_close() {
  if [ -n "$headrace_watch" ]; then
    { echo >&"$headrace_watch"; exec {headrace_watch}>&-; } 2>/dev/null
    headrace_watch=
  fi
  if [ -n "$headrace_section" ]; then
    headrace_time
    printf 'section_end:%s:%s\r\033[0K\n' "$headrace_now" "$headrace_section"
  fi
  headrace_section=
}
"""
# The watcher is not a child of the shell, because a plain `wait` in a step would wait for it. A pipe tells it that the
# step has ended. The shell handles the signal only after its foreground process exits, so all descendants are killed.
TIMEOUT_WATCHER = rf"""
headrace_limit() {{
  exec {{headrace_watch}}> >(headrace_watched "$@" <&0 &)
}}
headrace_watched() {{
  trap - EXIT ALRM
  read -r -t "$1"
  [ $? -gt 128 ] || return
  local kin late=
  kin=$(headrace_kin "$$")
  printf '%s\n' "$3"
  headrace_time
  printf 'section_end:%s:%s.{TIMEOUT_SUFFIX.decode()}\r\033[0K\n' "$headrace_now" "$2"
  kill -ALRM "$$"
  kill -TERM $kin
  read -r -t 2
  [ $? -gt 128 ] && late=yes
  kill -KILL $kin
  [ -z "$late" ] || read -r -t 2 || [ $? -le 128 ] || kill -KILL "$$"
}} 2>/dev/null
headrace_kin() {{
  local all stat rest pid parent kin=" $1 " more=1
  if [ -r "/proc/$1/stat" ]; then
    all=$(for stat in /proc/[0-9]*/stat; do
      read -r rest <"$stat" && pid=${{rest%% *}} && rest=${{rest##*) ? }} && echo "$pid ${{rest%% *}}"
    done)
  else
    all=$(ps -A -o pid= -o ppid=)
  fi
  while [ -n "$more" ]; do
    more=
    while read -r pid parent; do
      case $kin in *" $pid "*) continue ;; esac
      case $kin in *" $parent "*) kin="$kin$pid " more=1 ;; esac
    done <<<"$all"
  done
  echo "${{kin#" $1 "}}"
}}
trap 'exit {STEP_TIMEOUT_EXIT_CODE}' ALRM
"""
# the current time in milliseconds, or in seconds if `date` does not support fractions
NOW_EXPRESSION = (
    '$(headrace_now=$(date +%s%3N); case $headrace_now in *[!0-9]*|"") date +%s ;; *) echo "$headrace_now" ;; esac)'
)
CLOSE_ON_EXIT = "trap headrace_close EXIT\n"
# the section of a failed step stays open, which marks the step as failed
CLOSE_ON_SUCCESS = "trap '[ $? -ne 0 ] || headrace_close' EXIT\n"


def compile_steps(steps: Sequence[PlannedStep], nonce: str) -> tuple[str, ...]:
    """Return the job's script, as commands for the runner."""
    return (f"exec {_bash_command(steps, nonce, CLOSE_ON_EXIT, on_kill=False)}",)


def compile_cleanup(steps: Sequence[PlannedStep], nonce: str) -> tuple[str, ...]:
    """Return the job's after_script with its cleanup steps, or nothing if the job has no cleanup steps."""
    if not any(step.on_kill and not step.skipped for step in steps):
        return ()
    bash = _bash_command(steps, nonce, CLOSE_ON_SUCCESS, on_kill=True)
    return (f'if [ "${{CI_JOB_STATUS:-}}" = canceled ]; then exec {bash}; fi',)


def compile_commands(commands: Sequence[str], section: str, title: str) -> tuple[str, ...]:
    """Return the script of a pipeline job for any shell, as one command, because some runners echo each command.

    If a command fails, the shell exits and the log section has no end marker.
    """
    if not commands:
        return ()
    lines = [f": {shlex.quote(title)}", _marker_command("start", section, title)]
    for command in commands:
        first, *more = command.strip().split("\n")
        lines += [f"printf '%s\\n' {shlex.quote(f'$ {first}' + (' ...' if more else ''))}", command]
    return ("\n".join([*lines, _marker_command("end", section)]),)


def _marker_command(boundary: str, section: str, title: str = "") -> str:
    return rf"""printf 'section_{boundary}:%s:{section}\r\033[0K%s\n' "{NOW_EXPRESSION}" {shlex.quote(title)}"""


def _bash_command(steps: Sequence[PlannedStep], nonce: str, exit_trap: str, *, on_kill: bool) -> str:
    chosen = [(index, step) for index, step in enumerate(steps) if step.on_kill == on_kill]
    limits = TIMEOUT_WATCHER if any(step.timeout_seconds for _, step in chosen) else ""
    program = (
        PRELUDE
        + limits
        + exit_trap
        + "".join(_step_program(step, format_section_name(nonce, index)) for index, step in chosen)
    )
    return f"bash -c {shlex.quote(program)} headrace"


def _step_program(step: PlannedStep, section: str) -> str:
    return "\n".join(_step_lines(step, section)) + "\n"


def _step_lines(step: PlannedStep, section: str) -> Iterator[str]:
    yield f"headrace_open {section} {shlex.quote(f'Step {step.name} ...')}"
    if step.skipped:
        yield f"echo {shlex.quote(f'Step {step.name} skipped')}"
        yield "headrace_close"
        return
    if step.timeout_seconds:
        message = f"Step {step.name} TIMED OUT: it took longer than its limit of {step.timeout_seconds} seconds"
        yield f"headrace_limit {step.timeout_seconds} {section} {shlex.quote(message)}"
    path, *arguments = step.script.split()
    file = f'"$headrace_root"/{shlex.quote(path.lstrip("/"))}'
    yield f"if [ ! -f {file} ]; then"
    yield f"  echo {shlex.quote(f'The script {path} of step {step.name} does not exist in the repository.')}"
    yield f"  exit {STEP_FAILED_EXIT_CODE}"
    yield "fi"
    yield f"[ -x {file} ] || chmod +x {file} 2>/dev/null"
    yield f"source {file} {' '.join(map(shlex.quote, arguments))}".rstrip()
    yield "if [ $? -ne 0 ]; then"
    yield f"  echo {shlex.quote(f'Step {step.name} failed')}"
    yield f"  exit {STEP_FAILED_EXIT_CODE}"
    yield "fi"
    yield "headrace_close"
