"""`python -m infra`: how the local stack starts its processes; anything else goes to the command line."""

import sys

from infra import entry


def main(arguments: list[str]) -> None:
    match arguments:
        case ["service", name]:
            entry.in_words(lambda: entry.service(name))
        case ["gateway"]:
            entry.in_words(entry.gateway)
        case ["migrate"]:
            entry.in_words(entry.migrate)
        case ["supervise", *options]:
            from infra.local.control import supervise

            entry.in_words(lambda: supervise(detached="--detached" in options))
        case ["register-local-agent"]:
            from infra.local.agent import register_local_agent

            entry.in_words(register_local_agent)
        case ["run-local-agent"]:
            from infra.local.agent import run_local_agent

            entry.in_words(run_local_agent)
        case _:
            from infra.cli import main as command_line

            command_line()


if __name__ == "__main__":
    main(sys.argv[1:])
