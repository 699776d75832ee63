"""Commands to credentials and executors: required fields and recorded events."""

from contracts.projects import (
    CredentialCreated,
    CredentialDeleted,
    CredentialKeyChanged,
    CredentialRenamed,
    CredentialRevealed,
    DeleteCredential,
    DeleteExecutor,
    ExecutorCreated,
    ExecutorDeleted,
    ExecutorRenamed,
    ExecutorVariablesChanged,
    RenameCredential,
    RenameExecutor,
    RevealCredential,
)
from services.projects.domain.credential import credential_decider
from services.projects.domain.executor import executor_decider
from services.projects.domain.internal_commands import (
    AddCredential,
    AddExecutor,
    SetCredentialKey,
    SetExecutorVariables,
)
from tests.support.scenario import Scenario

create_key = AddCredential(name="deploy", credential_id=2, sealed_ssh_key="sealed")
key = CredentialCreated(credential_id=2, name="deploy", sealed_ssh_key="sealed")
create_executor = AddExecutor(name="box", driver="localDriver", executor_id=5, sealed_variables="sealed")
box = ExecutorCreated(executor_id=5, name="box", driver="localDriver", sealed_variables="sealed")

credential = Scenario(credential_decider)
executor = Scenario(executor_decider)


def test_each_credential_command_records_its_event() -> None:
    credential.when(create_key).then(key)
    existing = credential.given(key)
    existing.when(RenameCredential(credential_id=2, name="x")).then(CredentialRenamed(credential_id=2, name="x"))
    existing.when(RenameCredential(credential_id=2, name="deploy")).then()
    existing.when(SetCredentialKey(credential_id=2, sealed_ssh_key="s2")).then(
        CredentialKeyChanged(credential_id=2, sealed_ssh_key="s2")
    )
    existing.when(RevealCredential(credential_id=2)).then(CredentialRevealed(credential_id=2))
    existing.when(DeleteCredential(credential_id=2)).then(CredentialDeleted(credential_id=2))


def test_a_credential_needs_a_name_and_must_exist() -> None:
    credential.when(create_key.replace(name=None)).then_refused("CREDENTIAL_NAME_REQUIRED")
    credential.when(create_key.replace(name=" ")).then(key.replace(name=""))
    credential.when(RenameCredential(credential_id=2, name="x")).then_refused("CREDENTIAL_NOT_FOUND")
    deleted_credential = credential.given(key, CredentialDeleted(credential_id=2))
    deleted_credential.when(RevealCredential(credential_id=2)).then_refused("CREDENTIAL_NOT_FOUND")


def test_each_executor_command_records_its_event() -> None:
    executor.when(create_executor).then(box)
    existing = executor.given(box)
    existing.when(RenameExecutor(executor_id=5, name="x")).then(ExecutorRenamed(executor_id=5, name="x"))
    existing.when(SetExecutorVariables(executor_id=5, sealed_variables="s2")).then(
        ExecutorVariablesChanged(executor_id=5, sealed_variables="s2")
    )
    existing.when(DeleteExecutor(executor_id=5)).then(ExecutorDeleted(executor_id=5))


def test_an_executor_needs_a_name_and_a_known_driver() -> None:
    executor.when(create_executor.replace(name=None, driver=None)).then_refused("EXECUTOR_NAME_REQUIRED")
    executor.when(create_executor.replace(driver=" ")).then_refused("EXECUTOR_DRIVER_REQUIRED")
    executor.when(create_executor.replace(driver="remote")).then_refused("EXECUTOR_DRIVER_INVALID")
    executor.when(RenameExecutor(executor_id=5, name="x")).then_refused("EXECUTOR_NOT_FOUND")
