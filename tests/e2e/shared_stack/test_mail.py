"""E-mails that a running stack sends."""

from pathlib import Path
from uuid import uuid4

from tests.support.external.mail_server import MailServer
from tests.support.external.repositories import Gate, create_sample_repository
from tests.support.stacks.running_stack import RunningStack
from tests.support.waiting import wait_until


def test_a_failed_build_emails_its_launcher_and_a_successful_one_does_not(
    stack: RunningStack, mail_server: MailServer, tmp_path: Path
) -> None:
    name, gate = f"mailer-{uuid4().hex[:8]}", Gate(tmp_path / "gate")
    address = f"{name}@example.org"
    user = stack.create("developer", username=name, password="a good one", email=address, roles=["ROLE_DEVELOPER"])
    repository = create_sample_repository(tmp_path / "repository", {"build": f"test ! -e '{gate.file}'\n"})
    project_id = stack.create_project(repository, name=f"The project of {name}", developers_id=[user["id"]])
    with stack.sign_in(name, "a good one") as developer:
        good = stack.wait_until_finished(stack.launch_build(project_id, client=developer))
        gate.open()
        bad = stack.wait_until_finished(stack.launch_build(project_id, client=developer))
    wait_until(lambda: mail_server.messages_to(address))
    [mail] = mail_server.messages_to(address)
    assert good["exit_code"] == 0
    assert mail["Subject"] == f"THE PROJECT OF {name.upper()}: build {bad['id']} failed"
    assert "Custom deployment error" in mail.get_content()
    assert f"{stack.url}/api/developer/builds/{bad['id']}" in mail.get_content()


def test_the_test_email_arrives(stack: RunningStack, mail_server: MailServer) -> None:
    address = f"{uuid4().hex[:8]}@example.org"
    assert stack.admin.post(f"/admin/config/mail/test/{address}").status_code == 200
    wait_until(lambda: mail_server.messages_to(address))
    assert len(mail_server.messages_to(address)) == 1
