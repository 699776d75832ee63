"""The data folder: stored secrets and ports, file modes, locks and errors."""

import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from infra.local import ports
from infra.local.data_folder import DataFolder
from infra.local.process import OperatorError
from infra.local.stack_state import ProcessState, StackState, exclusive_lock, find_supervisor

RUNNING = ProcessState(name="builds-0", pid=7, address="http://127.0.0.1:1", health="http://127.0.0.1:1/readyz")


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    folder = DataFolder(tmp_path / "data")
    folder.prepare()
    return folder


def test_a_stored_secret_is_stable_and_readable_only_by_its_owner(folder: DataFolder) -> None:
    assert folder.secret("nats-password") == folder.secret("nats-password")
    assert (folder.path / "secrets" / "nats-password").stat().st_mode & 0o777 == 0o600
    assert folder.path.stat().st_mode & 0o777 == 0o700


def test_a_port_is_remembered(folder: DataFolder) -> None:
    assert folder.port("mongod") == folder.port("mongod")


def test_a_remembered_port_in_use_by_another_program_is_replaced(folder: DataFolder) -> None:
    port = folder.port("mongod")
    with socket.create_server(("127.0.0.1", port)):
        assert folder.port("mongod") != port


def test_a_port_shared_by_its_owner_counts_as_taken() -> None:
    with socket.socket() as owner:
        owner.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        owner.bind(("127.0.0.1", 0))
        owner.listen()
        assert ports.is_taken("127.0.0.1", owner.getsockname()[1])


def test_a_data_folder_that_is_a_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(OperatorError, match="is not writable"):
        DataFolder(tmp_path / "data").prepare()


def test_a_full_disk_is_rejected(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=3_000_000))
    with pytest.raises(OperatorError, match="has 3 MB left"):
        folder.prepare()


def test_a_new_data_folder_has_no_running_stack(folder: DataFolder) -> None:
    assert StackState.read(folder) is None
    assert find_supervisor(folder) is None


def test_the_stack_state_is_valid_while_its_supervisor_lives(folder: DataFolder) -> None:
    with exclusive_lock(folder):
        state = StackState(find_supervisor(folder) or 0, True, "http://127.0.0.1:8080", (RUNNING,))
        state.write(folder)
        assert StackState.read(folder) == state
    assert StackState.read(folder) is None


def test_a_second_supervisor_is_rejected(folder: DataFolder) -> None:
    with exclusive_lock(folder), pytest.raises(OperatorError, match="already running"), exclusive_lock(folder):
        pass


def test_the_stack_state_of_an_earlier_run_is_ignored(folder: DataFolder) -> None:
    with exclusive_lock(folder):
        StackState(1, True, "http://127.0.0.1:8080", (RUNNING,)).write(folder)
        assert StackState.read(folder) is None


def test_an_unreachable_process_is_not_ready() -> None:
    assert not RUNNING.is_ready()


def test_the_number_of_nodes_is_fixed_at_the_first_start(folder: DataFolder) -> None:
    assert folder.fix_node_count(3) == 3
    assert folder.fix_node_count(None) == folder.fix_node_count(3) == 3
    with pytest.raises(OperatorError, match="was created with 3 nodes"):
        folder.fix_node_count(1)
    with pytest.raises(OperatorError, match="has several nodes"):
        folder.require_one_node()


def test_a_folder_has_one_node_unless_more_are_requested(folder: DataFolder) -> None:
    assert folder.fix_node_count(None) == 1
    with pytest.raises(OperatorError, match="was created with 1 node, "):
        folder.fix_node_count(3)


def test_a_folder_of_a_release_without_nodes_has_one_node(folder: DataFolder) -> None:
    (folder.store("mongod") / "WiredTiger").touch()
    with pytest.raises(OperatorError, match="was created with 1 node, "):
        folder.fix_node_count(3)


def test_each_node_has_a_folder_of_its_own_and_a_single_one_that_of_earlier_releases(folder: DataFolder) -> None:
    names = [*folder.node_names("mongod", 1), *folder.node_names("mongod", 3)]
    assert [folder.store(name).name for name in names] == ["mongodb", "mongod-1", "mongod-2", "mongod-3"]
