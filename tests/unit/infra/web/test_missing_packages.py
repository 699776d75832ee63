"""Without the npm registry, unit tests are skipped with a message; checks and the image's build fail."""

from collections.abc import Callable
from functools import partial

import pytest

from infra.web import __main__ as commands
from infra.web.node import Node
from infra.web.packages import PackagesMissing


def fail_to_install(_node: Node, *, for_checks: bool) -> None:
    raise PackagesMissing("npm could not install its packages (ENOTFOUND)")


@pytest.mark.parametrize(
    ("command", "status", "sentence"),
    [
        (
            commands.build,
            0,
            "The web console is not built: npm could not install its packages (ENOTFOUND).",
        ),
        (partial(commands.build, required=True), 1, "npm could not install its packages (ENOTFOUND).\n"),
        (commands.test, 0, "The unit tests of the web console are skipped: npm could not install its packages"),
        (commands.check, 1, "The web console is not checked: npm could not install its packages"),
    ],
)
def test_a_registry_that_cannot_be_reached(
    command: Callable[[], int],
    status: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(commands, "require_node", lambda: Node("node", ("npm",)))
    monkeypatch.setattr(commands, "install_packages", fail_to_install)
    assert command() == status
    assert sentence in capsys.readouterr().err
