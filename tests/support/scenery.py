"""What the scenes of the table play on: users with their log-ins, a repository, a project and its first build."""

from pathlib import Path

import httpx

from tests.support.repositories import commit, sample_repository
from tests.support.stack import RunningStack

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


def clients_of(server: RunningStack) -> dict[str, httpx.Client]:
    for username, roles in (("dora", ["ROLE_DEVELOPER"]), ("olga", ["ROLE_DEVELOPER"]), ("anna", ["ROLE_ADMIN"])):
        server.made("developer", username=username, password=PASSWORD, roles=roles, email=f"{username}@example.org")
    return {
        "admin": server.admin,
        "developer": server.log_in("dora", PASSWORD),
        "other developer": server.log_in("olga", PASSWORD),
        "mere admin": server.log_in("anna", PASSWORD),
        "nobody": server.client(),
        "bad token": server.client("null"),
    }


def kept_of(server: RunningStack, folder: Path) -> dict[str, object]:
    """What every scene may use."""
    repository = sample_repository(folder / "repository")
    commit(repository, {".gitlab-ci.yml": PIPELINE})
    project = server.project(repository)
    return {
        "repository": str(repository),
        "executor": server.executor,
        "project": project,
        "build": server.run(project)["id"],
    }
