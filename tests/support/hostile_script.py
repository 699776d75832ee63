"""Attacks from inside a job's container. Each is a shell command with exit status 0 if the attack succeeds."""

from collections.abc import Iterable, Mapping

FILES = {
    "read the runner's token": "find / -xdev -name 'agent*.json' -not -path '/usr/*' 2>/dev/null | grep .",
    "use the engine's socket": "find / -xdev -name '*docker*.sock' 2>/dev/null | grep .",
    "read a token of the cluster": "ls /var/run/secrets/kubernetes.io /run/secrets 2>/dev/null | grep .",
    "read files of other jobs": "find / -xdev -path '*/job-*/private/*' -not -path \"$PWD/../*\" 2>/dev/null | grep .",
    # the brackets keep the pattern from matching its own command line
    "see processes of the agent": "grep -alE '[a]gent.run|-m.[i]nfra' /proc/[0-9]*/cmdline",
    "read the secrets of a deployment": "env | grep -E '^HEADRACE_(NATS|MONGODB|MASTER|REGISTRATION)'",
    "mount a file system": "mount -t tmpfs none /mnt",
    "create a device": 'mknod "$TMPDIR/disk" b 8 0',
    "change the routes": "ip rule flush || echo 0 > /proc/sys/net/ipv4/ip_forward",
}


def connect(*addresses: str) -> str:
    """Return a command that succeeds if one of the addresses, given as host:port, accepts a connection."""
    targets = " ".join(address.replace(":", "/") for address in addresses)
    return f'ok=1; for a in {targets}; do timeout 3 bash -c ": > /dev/tcp/$a" && ok=0; done; test $ok = 0'


def start_processes(count: int) -> str:
    """Return a command that succeeds if it starts this number of processes, and then kills them.

    It uses sh, because bash waits and retries when it cannot fork.
    """
    loop = f'while [ $i -lt {count} ]; do sleep 100 & p="$p $!"; i=$((i+1)); done'
    return f"exec sh -c 'trap \"kill \\$p\" EXIT; i=0; {loop}'"


def take_memory(megabytes: int) -> str:
    return f"set -o pipefail; head -c {megabytes}M /dev/zero | tail -c {megabytes}M | cat > /dev/null"


def hostile_script(attacks: Mapping[str, str]) -> Iterable[str]:
    """Return script lines that print the output of each attack, then a line `succeeded: NAME` or `stopped: NAME`."""
    for name, command in attacks.items():
        quoted = command.replace("'", "'\\''")
        label = name.replace("'", "'\\''")
        test = f"if bash -c '{quoted}' 2>&1; then r=succeeded; else r=stopped; fi"
        yield f"{test}; echo; echo \"$r\": '{label}'"


def results(log: str) -> dict[str, str]:
    """Return the result of each attack in a job's log."""
    pairs = [line.split(": ", 1) for line in log.splitlines() if line.startswith(("succeeded: ", "stopped: "))]
    return {name: result for result, name in pairs}
