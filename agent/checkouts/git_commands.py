"""Git commands in one folder. Their output is kept for error messages."""

from collections.abc import Callable, Mapping
from pathlib import Path

from agent.processes.job_spawner import JobSpawner
from agent.processes.program import run_program


class CheckoutError(Exception):
    """The planned commit could not be checked out. The job's log contains git's output."""


class GitCommands:
    def __init__(self, spawner: JobSpawner, folder: Path, log: Callable[[bytes], None]) -> None:
        self.folder = folder
        self._spawner = spawner
        self._log = log
        self._output: list[bytes] = []

    async def run(self, environment: Mapping[str, str], *arguments: str) -> bool:
        """Run a git command, and return whether it succeeded."""
        status = await run_program(
            self._spawner, ["git", *arguments], cwd=self.folder, environment=environment, output=self._output.append
        )
        return status == 0

    async def require(self, problem: str, environment: Mapping[str, str], *arguments: str) -> None:
        """Run a git command. Raises CheckoutError with `problem` if it fails."""
        self.forget_output()
        if not await self.run(environment, *arguments):
            self.fail(problem)

    def forget_output(self) -> None:
        self._output.clear()

    def fail(self, problem: str) -> None:
        """Write the output of the failed commands to the log, and raise CheckoutError."""
        self._log(b"".join(self._output))
        raise CheckoutError(problem)
