"""A stack with a project, a build and other resources, which generated requests use."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.external.repositories import create_sample_repository
from tests.support.stacks.running_stack import RunningStack


@dataclass(frozen=True)
class FuzzingTarget:
    stack: RunningStack
    known_values: Mapping[str, Any]  # valid values by path parameter, such as the id of an existing resource
    headers: Mapping[str, str]  # request headers with the administrator's token

    def replace_path_parameters(self, captured: Mapping[str, Any] | None) -> dict[str, Any]:
        """Replace about half of the generated path parameters with known values."""
        return {name: self._choose_value(name, value) for name, value in (captured or {}).items()}

    def _choose_value(self, name: str, value: Any) -> Any:
        if name == "user_id" and str(value).isdigit() and int(value) <= self.known_values["user_id"]:
            return self.known_values[name]  # replaces ids of administrators, whom requests must not change
        meant = self.known_values.get(name, value)
        return meant if type(meant) is type(value) and len(str(value)) % 2 else value


def create_fuzzing_target(stack: RunningStack, folder: Path) -> FuzzingTarget:
    project_id = stack.create_project(create_sample_repository(folder))
    build = stack.run_build(project_id)
    known = {
        "project_id": project_id,
        "build_id": build["id"],
        "executor_id": build["executor_id"],
        "step": "init",
        "line_number": "0",
        "recipient": "ivan@example.org",
        "secret_id": stack.create("secret", name="TOKEN", value="value")["id"],
        "credential_id": stack.create("credential", name="key", ssh_key="key")["id"],
        "user_id": stack.create("developer", username="fuzzed", password="a long password", roles=["ROLE_DEVELOPER"])[
            "id"
        ],
    }
    return FuzzingTarget(stack, known, dict(stack.admin.headers))
