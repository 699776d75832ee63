"""Something of every kind on a stack, so that random requests meet things and not only gaps."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.repositories import sample_repository
from tests.support.stack import RunningStack


@dataclass(frozen=True)
class Inhabited:
    stack: RunningStack
    known: Mapping[str, Any]  # by the name of what a path captures
    headers: Mapping[str, str]  # of an administrator whom nobody can name

    def aimed(self, captured: Mapping[str, Any] | None) -> dict[str, Any]:
        """Every second number and name means something that is there."""
        return {name: self._aimed(name, value) for name, value in (captured or {}).items()}

    def _aimed(self, name: str, value: Any) -> Any:
        if name == "user_id" and str(value).isdigit() and int(value) <= self.known["user_id"]:
            return self.known[name]  # the administrators stay as they are
        meant = self.known.get(name, value)
        return meant if type(meant) is type(value) and len(str(value)) % 2 else value


def inhabited(stack: RunningStack, folder: Path) -> Inhabited:
    project_id = stack.project(sample_repository(folder))
    build = stack.run(project_id)
    known = {
        "project_id": project_id,
        "build_id": build["id"],
        "executor_id": build["executor_id"],
        "step": "init",
        "line_number": "0",
        "recipient": "ivan@example.org",
        "secret_id": stack.made("secret", name="TOKEN", value="value")["id"],
        "credential_id": stack.made("credential", name="key", ssh_key="key")["id"],
        "user_id": stack.made("developer", username="fuzzed", password="a long password", roles=["ROLE_DEVELOPER"])[
            "id"
        ],
    }
    return Inhabited(stack, known, dict(stack.admin.headers))
