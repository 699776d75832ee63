"""The secrets of a deployment: who gets which, and that they stay what they were."""

import json
from pathlib import Path

import pytest

from infra.entry import SERVICES
from infra.secret_files import Deployment, write
from libs.settings import Settings

ALL = (*SERVICES, "migrate", "gateway", "agent", "mongo", "nats", "operator")


def contents(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def deployment(tmp_path: Path) -> Path:
    write(tmp_path, Deployment())
    return tmp_path


def test_every_process_has_a_folder(deployment: Path) -> None:
    assert {folder.name for folder in deployment.iterdir()} == {*ALL, "secrets"}


def test_a_second_run_changes_nothing(deployment: Path) -> None:
    before = contents(deployment)
    write(deployment, Deployment())
    assert contents(deployment) == before


def test_what_is_missing_is_written_as_it_was(deployment: Path) -> None:
    before = contents(deployment)
    (deployment / "builds" / "nats-url").unlink()
    (deployment / "nats" / "nats.conf").unlink()
    write(deployment, Deployment())
    assert contents(deployment) == before


def test_only_the_owner_reads_a_file(deployment: Path) -> None:
    assert {oct(file.stat().st_mode & 0o777) for file in deployment.rglob("*") if file.is_file()} == {"0o600"}


def test_a_service_can_start_with_its_files_and_has_a_login_of_its_own(deployment: Path) -> None:
    own = deployment / "builds"
    variables = {
        "HEADRACE_MONGODB_URL_FILE": str(own / "mongodb-url"),
        "HEADRACE_NATS_URL_FILE": str(own / "nats-url"),
        "HEADRACE_MASTER_KEY_FILE": str(own / "master-key"),
    }
    settings = Settings.from_environment(variables)
    settings.require_servers()
    assert settings.nats_url.startswith("nats://builds:")
    assert settings.mongodb_url.startswith("mongodb://builds:")


def test_nobody_gets_what_he_does_not_need(deployment: Path) -> None:
    secret = {
        name: (deployment / "secrets" / name).read_text()
        for name in ("admin-password", "registration-token", "nats-builds")
    }
    readers = {
        name: {path.split("/")[0] for path, text in contents(deployment).items() if value in text} - {"secrets"}
        for name, value in secret.items()
    }
    assert readers == {
        "admin-password": {"identity", "operator"},
        "registration-token": {"runners", "agent"},
        "nats-builds": {"builds", "nats"},
    }


def test_a_service_may_use_its_own_database_alone_and_the_migration_all(deployment: Path) -> None:
    users = {user["user"]: user["roles"] for user in json.loads((deployment / "mongo" / "users.json").read_text())}
    assert users["builds"] == [{"role": "readWrite", "db": "headrace_builds"}]
    assert {role["db"] for role in users["migrate"]} == {f"headrace_{service}" for service in SERVICES}


def test_nats_gets_the_permissions_with_the_passwords_in_them(deployment: Path) -> None:
    configuration = (deployment / "nats" / "nats.conf").read_text()
    assert "$HEADRACE_NATS_PASSWORD" not in configuration
    assert configuration.endswith('jetstream: {"store_dir": "/data"}\n')
