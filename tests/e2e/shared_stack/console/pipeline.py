"""A sample project, whose builds use all features of the screens."""

from pathlib import Path

from tests.support.external.repositories import commit_files, create_sample_repository
from tests.support.stacks.running_stack import RunningStack

PIPELINE = r"""
stages: [check, test, deploy]
lint: {stage: check, script: ["echo linting"]}
compile: {stage: check, script: ["printf '\\033[32mcompiled\\033[0m all files\\n'"]}
unit tests: {stage: test, needs: [compile], script: ["seq 1 60", "echo '<b>FAILED</b> test_cart'", "exit 3"]}
train: {stage: test, needs: [lint], tags: [gpu], script: ["echo training"]}
publish: {stage: deploy, when: manual, needs: [lint], script: ["echo published"]}
"""


def create_pipeline_project(stack: RunningStack, folder: Path) -> int:
    repository = create_sample_repository(folder)
    commit_files(repository, {".gitlab-ci.yml": PIPELINE})
    return stack.create_project(repository, name="pipeline", spec_file_path="/.gitlab-ci.yml")
