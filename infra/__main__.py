"""`python -m infra`, also the entry point of the image: start a service, the gateway, the migration or a helper.

With other arguments, run the command line.
"""

import sys

from infra import entrypoints


def main(arguments: list[str]) -> None:
    match arguments:
        case ["service", name]:
            entrypoints.exit_with_message(lambda: entrypoints.run_service(name))
        case ["gateway"]:
            entrypoints.exit_with_message(entrypoints.run_gateway)
        case ["migrate"]:
            entrypoints.exit_with_message(entrypoints.run_migration)
        case ["migrate", "--embedded-mongodb", *ports]:
            entrypoints.exit_with_message(lambda: entrypoints.run_migration(list(map(int, ports))))
        case ["supervise", *options]:
            from infra.local.stack_commands import supervise

            entrypoints.exit_with_message(lambda: supervise(detached="--detached" in options))
        case ["fork-server"]:
            from infra.local import fork_server

            main(fork_server.serve(entrypoints.import_services))
        case ["register-local-agent"]:
            from infra.local.agent import register_local_agent

            entrypoints.exit_with_message(register_local_agent)
        case ["run-local-agent"]:
            from infra.local.agent import run_local_agent

            entrypoints.exit_with_message(run_local_agent)
        case _:
            from infra.cli import main as command_line

            command_line()


if __name__ == "__main__":
    main(sys.argv[1:])
