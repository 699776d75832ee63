"""All routes of the gateway: routers by resource, and their order."""

from gateway.routers import avatar_files, events, history, jobs, tokens, webhooks
from gateway.routers.free_commit import (
    builds,
    companies,
    configuration,
    credentials,
    developers,
    executors,
    logs,
    paginations,
    projects,
    public,
    secrets,
)
from gateway.routers.gitflic import files, keys, runners, users
from gateway.routers.gitlab import runner_jobs, runner_tokens
from gateway.routers.prefix_router import PrefixRouter

# frequent routes come first; all routes of a path have to be in one router or in neighbors
ROUTERS: tuple[PrefixRouter, ...] = (
    runner_jobs.router,
    runner_tokens.router,
    builds.developers,
    jobs.jobs_of_build,
    paginations.pages,
    logs.router,
    jobs.router,
    projects.developers,
    projects.admins,
    webhooks.project_deliveries,
    executors.developers,
    executors.admins,
    public.users,
    public.guests,
    public.sign_in,
    builds.admins,
    files.router,
    events.router,
    paginations.statistics,
    secrets.developers,
    secrets.admins,
    credentials.developers,
    credentials.admins,
    developers.developers,
    developers.admins,
    tokens.admins,
    tokens.own,
    users.registration,
    users.router,
    keys.router,
    companies.developers,
    companies.admins,
    configuration.router,
    runners.admins,
    runners.projects,
    runners.companies,
    history.router,
    webhooks.guests,
    webhooks.deliveries,
    avatar_files.router,
    runner_tokens.gitflic_registration,
)
