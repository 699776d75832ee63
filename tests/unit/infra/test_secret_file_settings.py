"""Secrets from files: read without the final newline, and errors that show no secret."""

from pathlib import Path

import pytest

from libs.settings import SECRET_VARIABLES, Settings, SettingsError, resolve_secret_files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("canary\n")
    return path


@pytest.mark.parametrize("name", SECRET_VARIABLES)
def test_every_secret_may_come_from_a_file(name: str, file: Path) -> None:
    assert resolve_secret_files({f"{name}_FILE": str(file), "HOME": "/"}) == {name: "canary", "HOME": "/"}


def test_settings_read_secrets_from_files(file: Path) -> None:
    assert Settings.from_environment({"HEADRACE_MAIL_PASSWORD_FILE": str(file)}).mail.password == "canary"


def test_only_the_newline_at_the_end_of_a_secret_file_is_removed(file: Path) -> None:
    file.write_bytes(b"two\nlines \r\n")
    assert resolve_secret_files({"HEADRACE_BACKUP_KEY_FILE": str(file)}) == {"HEADRACE_BACKUP_KEY": "two\nlines "}


def test_an_empty_variable_beside_the_file_counts_as_not_set(file: Path) -> None:
    given = {"HEADRACE_NATS_URL": "", "HEADRACE_NATS_URL_FILE": str(file)}
    assert resolve_secret_files(given) == {"HEADRACE_NATS_URL": "canary"}


def test_a_secret_set_as_variable_and_file_is_rejected(file: Path) -> None:
    given = {"HEADRACE_ADMIN_PASSWORD": "other", "HEADRACE_ADMIN_PASSWORD_FILE": str(file)}
    with pytest.raises(SettingsError, match=r"^HEADRACE_ADMIN_PASSWORD and HEADRACE_ADMIN_PASSWORD_FILE are both set"):
        Settings.from_environment(given)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "is empty"), (b" \n", "is empty"), (b"\xff\xfecanary", "is not a text file")]
)
def test_an_unusable_secret_file_is_named_in_the_error(file: Path, content: bytes, reason: str) -> None:
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=f"^HEADRACE_MASTER_KEY_FILE: {file} {reason}") as error:
        Settings.from_environment({"HEADRACE_MASTER_KEY_FILE": str(file)})
    assert "canary" not in str(error.value)


def test_a_missing_secret_file_is_named_in_the_error(tmp_path: Path) -> None:
    missing = tmp_path / "none"
    with pytest.raises(SettingsError, match=rf"^HEADRACE_MONGODB_URL_FILE: {missing} cannot be read \(No such file"):
        Settings.from_environment({"HEADRACE_MONGODB_URL_FILE": str(missing)})


def test_a_certificate_without_its_key_is_rejected() -> None:
    with pytest.raises(SettingsError, match=r"^HEADRACE_TLS_CERTIFICATE and HEADRACE_TLS_KEY must be set together"):
        Settings.from_environment({"HEADRACE_TLS_KEY": "/tls/tls.key"})


def test_with_a_certificate_the_url_uses_https() -> None:
    given = {"HEADRACE_TLS_CERTIFICATE": "/tls/tls.crt", "HEADRACE_TLS_KEY": "/tls/tls.key"}
    assert Settings.from_environment(given).url == "https://127.0.0.1:8080"
