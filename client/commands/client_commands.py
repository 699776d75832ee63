"""The commands of users in the program `headrace`, except `secrets`, which `infra/cli` adds."""

import typer

from client.commands import access, notifications, projects, raw_api, schedules
from client.commands.administration import credentials, people, runners, webhooks
from client.commands.building import approvals, artifacts, builds, jobs, queue


def add_client_commands(app: typer.Typer) -> None:
    app.add_typer(access.app)
    app.add_typer(projects.app, name="projects", help="Projects: list, create, change, delete.")
    app.add_typer(schedules.app, name="schedules", help=schedules.HELP)
    app.add_typer(notifications.app, name="notifications", help=notifications.HELP)
    app.add_typer(builds.app, name="builds", help="Builds: launch, watch, logs, cancel, retry.")
    app.add_typer(jobs.app, name="jobs", help=jobs.HELP)
    app.add_typer(queue.app)
    app.add_typer(artifacts.app, name="artifacts", help=artifacts.HELP)
    app.add_typer(approvals.app, name="approvals", help=approvals.HELP)
    app.add_typer(credentials.app, name="credentials", help=credentials.HELP)
    app.add_typer(people.users, name="users", help=people.USERS_HELP)
    app.add_typer(people.tokens, name="tokens", help=people.TOKENS_HELP)
    app.add_typer(runners.app, name="runners", help=runners.HELP)
    app.add_typer(webhooks.app, name="webhooks", help=webhooks.HELP)
    app.add_typer(raw_api.app)
