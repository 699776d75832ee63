"""Command `headrace builds tests`: the tests in the JUnit reports of a build."""

from typing import Annotated

import typer

from client.commands.options import BuildArgument, JsonOption

app = typer.Typer()

COLUMNS = ("status", "job_name", "class_name", "name", "seconds", "message")


@app.command("tests")
def list_tests(
    build: BuildArgument,
    failed: Annotated[bool, typer.Option("--failed", help="Only tests that failed.")] = False,
    details: Annotated[bool, typer.Option("--details", help="Print messages and stack traces instead.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the tests of a build from the JUnit reports of its jobs, failed ones first.

    Example: `headrace builds tests 17 --failed --details`
    """
    from client.builds.reported_tests import iterate_tests
    from client.output.build_view import describe_failure, print_lines
    from client.output.tables import show_rows
    from client.session.connection import connect
    from client.session.console_urls import parse_target

    target = parse_target(build, "builds")
    with connect(target.server_url) as client:
        tests = list(iterate_tests(client, target.id, failed=failed))
    if details and not as_json:
        print_lines(line for test in tests for line in describe_failure(test))
        return
    table = [
        {**test, "seconds": f"{test['duration_ms'] / 1000:.2f}", "message": test["message"].partition("\n")[0]}
        for test in tests
    ]
    show_rows(tests if as_json else table, COLUMNS, as_json=as_json)
