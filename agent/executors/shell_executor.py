"""The executor that runs steps in a shell on this machine."""

from collections.abc import Mapping

from agent.execution.job_log import JobLog
from agent.execution.workspace import Workspace
from agent.processes.job_spawner import JobSpawner
from agent.processes.program import interpreter_command, run_program


class ShellExecutor:
    """Runs each step as a program on this machine, as the job's user if it has one, else as the agent's user."""

    def __init__(self, program: str, workspace: Workspace, spawner: JobSpawner, log: JobLog) -> None:
        self._program = program
        self._workspace = workspace
        self._spawner = spawner
        self._log = log

    async def prepare(self) -> None:
        pass

    async def run(self, number: int, script: str, extra_environment: Mapping[str, str]) -> int:
        return await run_program(
            self._spawner,
            [*interpreter_command(self._program), self._workspace.write_script(number, script)],
            cwd=self._workspace.checkout,
            environment={**self._workspace.environment, **extra_environment},
            output=self._log.write,
        )

    async def collect(self) -> None:
        pass

    async def close(self) -> None:
        pass
