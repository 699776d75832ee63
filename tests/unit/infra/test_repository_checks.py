"""The checks of wording, layout and links, on small repositories with one violation each."""

import subprocess
from pathlib import Path

import pytest

from infra.checks import layout, links, wording


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


def write(repository: Path, name: str, text: str) -> None:
    file = repository / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    subprocess.run(["git", "add", name], cwd=repository, check=True)


@pytest.mark.parametrize("line", ['"""Built anew."""', "x = 1  # nobody reads it", 'raise ValueError("for ever")'])
def test_a_figure_of_speech_in_prose_is_reported(repository: Path, line: str) -> None:
    write(repository, "infra/module.py", f"{line}\n")
    [problem] = wording.find_problems(repository)
    assert problem.startswith("infra/module.py:1: ")


def test_a_retired_name_is_reported(repository: Path) -> None:
    write(repository, "infra/module.py", "PATIENCE = 1.0\n")
    assert list(wording.find_problems(repository)) == ["infra/module.py:1: PATIENCE: rename this."]


def test_an_identifier_that_contains_a_phrase_is_allowed(repository: Path) -> None:
    write(repository, "infra/module.py", "renewed = wishlist = nobody_id = 1\n")
    assert list(wording.find_problems(repository)) == []


def test_a_long_module_is_reported(repository: Path) -> None:
    write(repository, "infra/module.py", "\n" * 301)
    assert list(layout.find_problems(repository)) == ["infra/module.py: 301 lines; split it, at most 300 are allowed."]


def test_a_folder_with_too_many_modules_is_reported(repository: Path) -> None:
    for number in range(13):
        write(repository, f"infra/module_{number}.py", "")
    [problem] = layout.find_problems(repository)
    assert problem.startswith("infra: 13 modules")


def test_a_repeated_module_name_is_reported_within_one_tree_only(repository: Path) -> None:
    for name in (
        "infra/a/state.py",
        "infra/b/state.py",
        "agent/state.py",
        "infra/a/commands.py",
        "infra/b/commands.py",
    ):
        write(repository, name, "")
    [problem] = layout.find_problems(repository)
    assert problem.startswith("infra: state.py exists 2 times")


def test_a_broken_link_and_a_missing_module_are_reported(repository: Path) -> None:
    write(repository, "docs/page.md", "[other](other.md), [web](https://example.org), `infra/missing.py`\n")
    assert list(links.find_problems(repository)) == [
        "docs/page.md:1: the link other.md leads nowhere.",
        "docs/page.md:1: infra/missing.py does not exist.",
    ]
