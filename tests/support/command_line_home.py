"""The command line of a user whose settings are in a folder of the test."""

import json
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner, Result

from infra.cli import app


@dataclass(frozen=True)
class Home:
    """Runs `headrace` with the settings folder that `environ` names, instead of the folder of this machine's user."""

    environ: dict[str, str]

    def run(self, *arguments: str, exit_code: int = 0, text: str | None = None, **environ: str) -> Result:
        result = CliRunner().invoke(app, arguments, input=text, env={**self.environ, **environ}, prog_name="headrace")
        assert result.exit_code == exit_code, f"{arguments}: {result.output} {result.exception!r}"
        return result

    def read(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)
