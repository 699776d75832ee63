"""Command `admin init-secrets`, and `secrets`, its name in release 0.2, which still works."""

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from client.commands.administration import secrets
from infra import entrypoints

app = typer.Typer()

FORMER_COMMAND = "init-secrets"


@app.command("init-secrets")
def init_secrets(
    folder: Annotated[Path, typer.Argument(help="Folder in which a subfolder for each process is created.")],
    mongodb: Annotated[str, typer.Option(help="host:port of MongoDB; separate several by commas.")] = "mongo:27017",
    nats: Annotated[str, typer.Option(help="host:port of NATS.")] = "nats:4222",
) -> None:
    """Generate missing passwords and keys for a deployment, as files for each of its processes.

    All generated values are kept in the subfolder `secrets`. The files for mongod and nats-server are included.

    Example: `headrace admin init-secrets /deployment`
    """
    from infra.deployment_secrets import Deployment, write_secret_files

    entrypoints.exit_with_message(lambda: write_secret_files(folder, Deployment(mongodb=mongodb, nats=nats)))


class SecretsGroup(TyperGroup):
    """The group `secrets`, which also handles `secrets FOLDER` of release 0.2 as `admin init-secrets FOLDER`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        names = [name for name in self.commands if name != FORMER_COMMAND]
        is_former = bool(args) and args[0] not in (*self.commands, "--help") and not get_close_matches(args[0], names)
        return super().parse_args(ctx, [FORMER_COMMAND, *args] if is_former else args)


secrets_with_former_command = typer.Typer(cls=SecretsGroup, no_args_is_help=True, help=secrets.HELP)
secrets_with_former_command.add_typer(secrets.app)
secrets_with_former_command.command(FORMER_COMMAND, hidden=True)(init_secrets)
