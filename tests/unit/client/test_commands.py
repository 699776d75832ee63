"""The commands of the program `headrace`: arguments, former names, completion, and what they import."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from client.commands.raw_api import parse_fields
from client.errors import UsageError
from infra.cli import app

FORMER_COMMANDS = (
    "up", "down", "status", "demo", "service", "gateway", "migrate", "doctor", "reactions", "rebuild", "rotate-keys",
    "backup", "restore", "erasures",
)  # fmt: skip
# what `pip install headrace` installs, with its own dependencies
CLIENT_PACKAGES = {
    "annotated_doc", "annotated_types", "anyio", "certifi", "h11", "httpcore", "httpx", "idna", "markdown_it", "mdurl",
    "pydantic", "pydantic_core", "pygments", "re2", "rich", "shellingham", "sniffio", "typer", "typing_extensions",
    "typing_inspection", "yaml",
}  # fmt: skip
OWN_PACKAGES = {"agent", "client", "contracts", "gateway", "headrace_client", "infra", "libs", "services"}

# runs the command line with all other packages blocked
PROGRAM = f"""
import sys
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        root = name.partition(".")[0]
        if root not in sys.stdlib_module_names and not root.startswith("_") and root not in {CLIENT_PACKAGES | OWN_PACKAGES}:
            raise ModuleNotFoundError(f"No module named {{root!r}}", name=root)

sys.meta_path.insert(0, Blocked())
from infra.cli import main
main()
"""  # noqa: E501


def run_client_only(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": "", "XDG_CONFIG_HOME": str(home), "HEADRACE_DATA": str(home)}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], env=environ, capture_output=True, text=True, check=False
    )


def test_the_client_needs_only_its_own_packages(tmp_path: Path) -> None:
    result = run_client_only("builds", "watch", "17", home=tmp_path)
    assert (result.returncode, result.stderr) == (4, "headrace: Not signed in. Run `headrace login URL`.\n")
    result = run_client_only("login", "http://127.0.0.1:1", "--token-stdin", home=tmp_path)
    assert "The standard input is empty" in result.stderr


def test_an_operator_command_says_which_packages_are_missing(tmp_path: Path) -> None:
    result = run_client_only("admin", "doctor", home=tmp_path)
    assert result.returncode == 1
    assert "pip install 'headrace[server]'" in result.stderr
    assert "pip install 'headrace[agent]'" in run_client_only("agent", "list", home=tmp_path).stderr


def test_the_library_is_importable_without_the_server() -> None:
    program = "import sys, headrace_client; print(*{name.partition('.')[0] for name in sys.modules})"
    result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert set(result.stdout.split()) & {"contracts", "gateway", "infra", "services", "pydantic", "typer"} == set()


@pytest.mark.parametrize("name", FORMER_COMMANDS)
def test_commands_of_release_0_2_work_under_their_names_without_being_shown(name: str) -> None:
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    assert command.hidden


def test_files_of_a_deployment_are_still_made_by_the_former_command(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["secrets", str(tmp_path / "files"), "--mongodb", "db:1"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "files" / "secrets").is_dir()


def test_a_mistyped_command_of_secrets_makes_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["secrets", "lst"])
    assert result.exit_code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(shell: str) -> None:
    result = CliRunner().invoke(app, ["--show-completion", shell], prog_name="headrace")
    assert result.exit_code == 0
    assert "_HEADRACE_COMPLETE" in result.output


def test_fields_of_a_body_are_json_or_text() -> None:
    assert parse_fields(["build.priority=5", "build.name=a=b", "steps=[1]", 'id="7"', "sha=0a"]) == {
        "build": {"priority": 5, "name": "a=b"},
        "steps": [1],
        "id": "7",
        "sha": "0a",
    }


@pytest.mark.parametrize("fields", [["a"], ["=1"], ["a=1", "a.b=2"]])
def test_fields_that_contradict_are_usage_errors(fields: list[str]) -> None:
    with pytest.raises(UsageError):
        parse_fields(fields)
