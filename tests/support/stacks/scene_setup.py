"""The users, repository, project and build that the scenes use."""

from pathlib import Path

import httpx

from tests.support.external.repositories import commit_files, create_sample_repository
from tests.support.stacks.running_stack import RunningStack

PIPELINE = """
hello:
  stage: build
  script: [echo hello, test -n "$CI_JOB_TOKEN", echo "$CI_JOB_NAME" > made.txt]
  after_script: [echo bye]
  artifacts: {paths: [made.txt]}
  environment: none
broken: {script: [grep hello made.txt, exit 7], retry: 1}
deploy: {stage: deploy, script: [echo deployed], when: manual, allow_failure: false}
"""
PASSWORD = "a long enough one"


def create_clients(server: RunningStack) -> dict[str, httpx.Client]:
    for username, roles in (("dora", ["ROLE_DEVELOPER"]), ("olga", ["ROLE_DEVELOPER"]), ("anna", ["ROLE_ADMIN"])):
        server.create("developer", username=username, password=PASSWORD, roles=roles, email=f"{username}@example.org")
    return {
        "admin": server.admin,
        "developer": server.sign_in("dora", PASSWORD),
        "other developer": server.sign_in("olga", PASSWORD),
        "admin only": server.sign_in("anna", PASSWORD),
        "anonymous": server.create_client(),
        "invalid token": server.create_client("null"),
    }


def create_scene_variables(server: RunningStack, folder: Path) -> dict[str, object]:
    repository = create_sample_repository(folder / "repository")
    commit_files(repository, {".gitlab-ci.yml": PIPELINE})
    project = server.create_project(repository)
    return {
        "repository": str(repository),
        "executor": server.default_executor_id,
        "project": project,
        "build": server.run_build(project)["id"],
    }
