"""The mail that tells somebody that their build failed."""

from pathlib import Path
from uuid import uuid4

from tests.support.post_office import PostOffice
from tests.support.repositories import Gate, sample_repository
from tests.support.stack import RunningStack, until


def test_who_started_a_build_that_fails_gets_a_mail_and_none_when_it_succeeds(
    stack: RunningStack, mails: PostOffice, tmp_path: Path
) -> None:
    name, gate = f"mailer-{uuid4().hex[:8]}", Gate(tmp_path / "gate")
    address = f"{name}@example.org"
    user = stack.made("developer", username=name, password="a good one", email=address, roles=["ROLE_DEVELOPER"])
    repository = sample_repository(tmp_path / "repository", {"build": f"test ! -e '{gate.file}'\n"})
    project_id = stack.project(repository, name=f"The project of {name}", developers_id=[user["id"]])
    with stack.log_in(name, "a good one") as developer:
        good = stack.finished(stack.launch(project_id, client=developer))
        gate.open()
        bad = stack.finished(stack.launch(project_id, client=developer))
    until(lambda: mails.to(address))
    [mail] = mails.to(address)
    assert good["exit_code"] == 0
    assert mail["Subject"] == f"THE PROJECT OF {name.upper()}: build {bad['id']} failed"
    assert "Custom deployment error" in mail.get_content()
    assert f"{stack.url}/api/developer/builds/{bad['id']}" in mail.get_content()


def test_the_test_mail_arrives(stack: RunningStack, mails: PostOffice) -> None:
    address = f"{uuid4().hex[:8]}@example.org"
    assert stack.admin.post(f"/admin/config/mail/test/{address}").status_code == 200
    until(lambda: mails.to(address))
    assert len(mails.to(address)) == 1
