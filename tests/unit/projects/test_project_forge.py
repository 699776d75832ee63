"""The forge to which a project reports the results of its builds."""

import pytest

from contracts.projects import ChangeForge, ForgeKind, ProjectCreated, ProjectSettingsChanged
from services.projects.domain.project import project_decider
from tests.support.scenario import Scenario

created = ProjectCreated(
    project_id=3,
    owner_alias="Ivan",
    alias="shop",
    name="Shop",
    repository="https://forge.example/shop.git",
    branch="main",
    spec_file_path="/spec.yaml",
    allow_concurrent_execution=False,
    executor_id=1,
    sealed_signature_key="sealed",
)
with_forge = ProjectSettingsChanged(
    project_id=3, forge_kind=ForgeKind.GITLAB, forge_api_url="https://git.test/api/v4", forge_secret="TOKEN"
)
project = Scenario(project_decider).given(created)


def test_a_project_reports_to_a_forge() -> None:
    change = ChangeForge(project_id=3, kind=ForgeKind.GITLAB, api_url="https://git.test/api/v4/", secret="TOKEN")
    project.when(change).then(with_forge)
    project.given(with_forge).when(change).then()


def test_without_a_forge_its_settings_are_removed() -> None:
    none = ProjectSettingsChanged(project_id=3, forge_kind=ForgeKind.NONE, forge_api_url="", forge_secret="")
    project.given(with_forge).when(ChangeForge(project_id=3, kind=ForgeKind.NONE, secret="TOKEN")).then(none)


@pytest.mark.parametrize(
    "url",
    [
        "git.test",
        "ftp://git.test",
        "https://",
        "https://token@git.test",
        "https://git.test/?a=b",
        "https://a b/",
        "https://x:y/",
    ],
)
def test_the_url_of_the_api_has_no_login_and_no_query(url: str) -> None:
    change = ChangeForge(project_id=3, kind=ForgeKind.GITLAB, api_url=url, secret="TOKEN")
    project.when(change).then_refused("PROJECT_FORGE_INVALID")


@pytest.mark.parametrize("kind", [None, ForgeKind.GITHUB])
def test_a_forge_needs_a_kind_and_a_secret(kind: ForgeKind | None) -> None:
    project.when(ChangeForge(project_id=3, kind=kind)).then_refused("PROJECT_FORGE_INVALID")
