"""Generated deployment secrets: each process gets only the secrets it needs, and a second run changes no secret."""

import json
from pathlib import Path

import pytest

from infra.deployment_secrets import Deployment, write_secret_files
from infra.service_catalog import SERVICES
from libs.settings import Settings

ALL = (*SERVICES, "migrate", "gateway", "agent", "mongo", "nats", "operator")


def contents(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def deployment(tmp_path: Path) -> Path:
    write_secret_files(tmp_path, Deployment())
    return tmp_path


def test_every_process_has_a_secrets_folder(deployment: Path) -> None:
    assert {folder.name for folder in deployment.iterdir()} == {*ALL, "secrets"}


def test_generating_secrets_again_changes_nothing(deployment: Path) -> None:
    before = contents(deployment)
    write_secret_files(deployment, Deployment())
    assert contents(deployment) == before


def test_missing_secret_files_are_restored_unchanged(deployment: Path) -> None:
    before = contents(deployment)
    (deployment / "builds" / "nats-url").unlink()
    (deployment / "nats" / "nats.conf").unlink()
    write_secret_files(deployment, Deployment())
    assert contents(deployment) == before


def test_secret_files_are_readable_only_by_the_owner(deployment: Path) -> None:
    assert {oct(file.stat().st_mode & 0o777) for file in deployment.rglob("*") if file.is_file()} == {"0o600"}


def test_a_service_starts_with_its_secret_files_and_its_own_login(deployment: Path) -> None:
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


def test_each_secret_is_given_only_to_its_users(deployment: Path) -> None:
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


def test_a_service_may_use_only_its_own_database_and_the_migration_all(deployment: Path) -> None:
    users = {user["user"]: user["roles"] for user in json.loads((deployment / "mongo" / "users.json").read_text())}
    assert users["builds"] == [{"role": "readWrite", "db": "headrace_builds"}]
    assert {role["db"] for role in users["migrate"]} == {f"headrace_{service}" for service in SERVICES}


def test_the_generated_nats_configuration_contains_the_passwords(deployment: Path) -> None:
    configuration = (deployment / "nats" / "nats.conf").read_text()
    assert "$HEADRACE_NATS_PASSWORD" not in configuration
    assert configuration.endswith('jetstream: {"store_dir": "/data"}\n')
