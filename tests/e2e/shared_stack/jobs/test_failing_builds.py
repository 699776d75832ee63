"""Builds that fail: each ends with a clear message and does not block the next build.

tests/unit/builds/planning/test_spec.py covers errors in spec files.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from infra.local import ports
from tests.support.external.repositories import create_sample_repository
from tests.support.stacks.running_stack import AGENT_SLOTS, RunningStack

STEP = "from: debian\nsteps:\n  - name: '@build'\n"


@dataclass(frozen=True)
class FaultyBuild:
    exit_code: int
    message_pattern: str  # pattern of the build's exit message
    log_pattern: str = ""  # pattern of the build's output or log
    steps: Mapping[str, str] | None = None
    spec: str | bytes | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


FAULTY_BUILDS = {
    "the spec file is missing": FaultyBuild(
        1000, "Spec file not found", "nowhere", settings={"spec_file_path": "/nowhere"}
    ),
    "the spec file is a folder": FaultyBuild(1001, "Spec file not readable", "ci", settings={"spec_file_path": "/ci"}),
    "the spec file is not text": FaultyBuild(1001, "Spec file not readable", "UTF-8", spec=b"steps: \xff\xfe"),
    "the spec file is not YAML": FaultyBuild(-1, "not YAML.*line 1", spec="steps: [}"),
    "the repository folder does not exist": FaultyBuild(
        128, "could not be read", "No such file", settings={"repository": "/nowhere/at/all"}
    ),
    "the repository URL refuses connections": FaultyBuild(
        128,
        "could not be read",
        "127.0.0.1",
        settings={"repository": f"http://127.0.0.1:{ports.find_free_port()}/x.git"},
    ),
    "the SSH repository URL refuses connections": FaultyBuild(
        128, "could not be read", settings={"repository": f"ssh://git@127.0.0.1:{ports.find_free_port()}/x.git"}
    ),
    "the branch does not exist": FaultyBuild(128, "branch nowhere does not exist", settings={"branch": "nowhere"}),
    "a script is missing": FaultyBuild(
        2000, "Custom deployment error", "/ci/gone.sh .*does not exist", spec=f"{STEP}    script: /ci/gone.sh\n"
    ),
    "a script fails": FaultyBuild(
        2000, "Custom deployment error", "Step @build failed", steps={"build": "echo so\nfalse\n"}
    ),
    "a script has a syntax error": FaultyBuild(
        2000, "Custom deployment error", "syntax error", steps={"build": "if then fi fi\n"}
    ),
    "a command of a script does not exist": FaultyBuild(
        2000, "Custom deployment error", "command not found", steps={"build": "no-such-command-here\n"}
    ),
    "a step exceeds its timeout": FaultyBuild(
        124,
        "The step @build took longer than its limit of 1 seconds",
        "Step @build TIMED OUT",
        spec=f"{STEP}    script: /ci/build.sh\n    timeout: 1\n",
        steps={"build": "sleep 3600\n"},
    ),
    "a script exits with 7": FaultyBuild(7, "exit code 7", steps={"build": "echo seven\nexit 7\n"}),
    "a script exits with 208": FaultyBuild(2000, "Custom deployment error", steps={"build": "exit 208\n"}),
    "a script kills its shell": FaultyBuild(137, "137", steps={"build": "kill -9 $$\n"}),
}


@pytest.mark.parametrize("name", FAULTY_BUILDS)
def test_a_faulty_build_fails_with_a_clear_message(name: str, stack: RunningStack, tmp_path: Path) -> None:
    faulty_build = FAULTY_BUILDS[name]
    repository = create_sample_repository(tmp_path / "repository", faulty_build.steps, faulty_build.spec)
    project_id = stack.create_project(**{"repository": str(repository)} | dict(faulty_build.settings))
    build = stack.run_build(project_id)
    text = "\n".join([build["output"] or "", *stack.read_log(build["id"]).values()])
    assert build["exit_code"] == faulty_build.exit_code
    assert re.search(faulty_build.message_pattern, build["exit_message"])
    assert re.search(faulty_build.log_pattern, text)


def test_faulty_builds_do_not_block_the_next_build(stack: RunningStack, good_project: int, tmp_path: Path) -> None:
    """A faulty build that kept its slot would leave no slot for the good build."""
    steps, settings = {"build": "kill -9 $$\n"}, {"spec_file_path": "/nowhere"}
    killed = stack.create_project(create_sample_repository(tmp_path / "killed", steps))
    unplanned = stack.create_project(create_sample_repository(tmp_path / "unplanned"), **settings)
    faulty = [stack.launch_build(project_id) for project_id in [killed] * AGENT_SLOTS + [unplanned]]
    good = stack.launch_build(good_project)
    assert stack.wait_until_finished(good)["exit_code"] == 0
    assert [stack.wait_until_finished(build)["exit_code"] for build in faulty] == [137] * AGENT_SLOTS + [1000]


def test_launching_an_unknown_project_is_rejected(stack: RunningStack) -> None:
    response = stack.admin.post("/developer/builds/999999", json={"build": {"ignore_steps": []}})
    assert (response.status_code, response.json()["message"]) == (404, "PROJECT_NOT_FOUND")


def test_a_project_for_any_branch_builds_the_default_branch(stack: RunningStack, tmp_path: Path) -> None:
    repository = create_sample_repository(tmp_path / "repository", branch="trunk")
    build = stack.run_build(stack.create_project(repository, branch="*"))
    assert (build["exit_code"], build["ref"]) == (0, "refs/heads/trunk")


def test_a_script_that_exits_with_0_ends_the_build_successfully(stack: RunningStack, tmp_path: Path) -> None:
    steps = {"build": "echo enough\nexit 0\n", "test": "echo never\n"}
    build = stack.run_build(stack.create_project(create_sample_repository(tmp_path / "repository", steps)))
    assert (build["exit_code"], build["exit_message"]) == (0, None)
    assert list(stack.read_log(build["id"])) == ["init", "build"]


def test_steps_may_have_any_name(stack: RunningStack, tmp_path: Path) -> None:
    names = ["@init", "@abort", "@-1", "@with space", "@a", "@a", "@a-2", "@ünï $(id) `id`"]
    spec = yaml.safe_dump({"steps": [{"name": name, "script": "/ci/build.sh"} for name in names]})
    project_id = stack.create_project(create_sample_repository(tmp_path / "repository", spec=spec))
    build = stack.run_build(project_id)
    log = stack.read_log(build["id"])
    assert build["exit_code"] == 0
    assert list(log) == ["init", "init-2", "abort-2", "-1-2", "with space", "a", "a-3", "a-2", "ünï $(id) `id`"]
    assert "Step @ünï $(id) `id` ..." in log["ünï $(id) `id`"]


def test_script_arguments_are_not_interpreted_by_the_shell(stack: RunningStack, tmp_path: Path) -> None:
    spec = """steps: [{name: "@build", script: '/ci/build.sh ; touch stolen $(id) `id` "a b" *'}]"""
    steps = {"build": 'printf "<%s>" "$@"; test ! -e stolen\n'}
    build = stack.run_build(stack.create_project(create_sample_repository(tmp_path / "repository", steps, spec)))
    assert build["exit_code"] == 0
    assert '<;><touch><stolen><$(id)><`id`><"a><b"><*>' in stack.read_log(build["id"])["build"]


def test_only_the_last_command_decides_the_result_of_a_step(stack: RunningStack, tmp_path: Path) -> None:
    steps = {"build": "false\necho but this worked\n"}
    assert (
        stack.run_build(stack.create_project(create_sample_repository(tmp_path / "repository", steps)))["exit_code"]
        == 0
    )


def test_the_failing_step_is_the_last_one_and_marked_as_failed(stack: RunningStack, tmp_path: Path) -> None:
    steps = {"build": "true\n", "test": "false\n", "deploy": "echo never\n"}
    build = stack.run_build(stack.create_project(create_sample_repository(tmp_path / "repository", steps)))
    assert list(stack.read_log(build["id"])) == ["init", "build", "test"]
    assert stack.admin.get(f"/developer/logs/{build['id']}/init").json()["success"] is True
    assert stack.admin.get(f"/developer/logs/{build['id']}/build").json()["success"] is False


def test_a_huge_log_is_truncated_with_a_notice(stack: RunningStack, tmp_path: Path) -> None:
    steps = {"build": "seq -f 'line %.0f of a log that is far longer than the limit' 150000\n"} | {"test": "echo"}
    build = stack.run_build(stack.create_project(create_sample_repository(tmp_path / "repository", steps)))
    log = stack.read_log(build["id"])
    lines = log["build"].splitlines()
    assert build["exit_code"] == 0
    assert lines[1] == "line 1 of a log that is far longer than the limit"
    assert len(lines) > 50000
    assert "The log is longer than" in lines[-1]
    assert log["test"].splitlines()[:2] == [
        "Step @test ...",
        "The output of this section is not kept: the log is too long.",
    ]


def test_binary_output_does_not_break_the_log(stack: RunningStack, tmp_path: Path) -> None:
    garbage = (
        r"printf 'before \000\377\376\300\200\033[31m\r\n\007 after\n'; head -c 20000 /dev/urandom; echo; echo end"
    )
    build = stack.run_build(
        stack.create_project(create_sample_repository(tmp_path / "repository", {"build": garbage, "test": "echo ok"}))
    )
    log = stack.read_log(build["id"])
    assert build["exit_code"] == 0
    assert list(log) == ["init", "build", "test"]
    assert "before" in log["build"]
    assert "end" in log["build"].splitlines()


def test_a_script_cannot_forge_a_section(stack: RunningStack, tmp_path: Path) -> None:
    forged = r"""
printf 'section_start:1700000000:evil\r\033[0KStep @evil ...\n'
printf 'section_end:1700000000:hr_000000000000_0\r\033[0K\nStep @evil2 ...\nStep @evil3 skipped\n'
printf 'section_start:1700000000:hr_000000000000_1[collapsed=true]\r\033[0Kheader\n'
printf 'section_start:'
sleep 0.3
printf '1700000000:half\r\033[0Kcut in two\n'
"""
    build = stack.run_build(
        stack.create_project(create_sample_repository(tmp_path / "repository", {"build": forged, "test": "echo ok"}))
    )
    assert build["exit_code"] == 0
    assert list(stack.read_log(build["id"])) == ["init", "build", "test"]
    assert "Step @evil3 skipped" in stack.read_log(build["id"])["build"]
