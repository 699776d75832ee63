"""All routes of the gateway: one table per resource, and the routes with handlers of their own."""

from gateway.adapters.gitflic import runner_registration
from gateway.adapters.gitflic.avatars import get_avatar
from gateway.adapters.gitlab import artifacts, job_request, runner_api
from gateway.framework.route_table import Raw, answered
from gateway.routes.free_commit.builds import BUILDS
from gateway.routes.free_commit.companies import COMPANIES
from gateway.routes.free_commit.configuration import CONFIGURATION
from gateway.routes.free_commit.credentials import CREDENTIALS
from gateway.routes.free_commit.executors import EXECUTORS
from gateway.routes.free_commit.paginations import PAGES
from gateway.routes.free_commit.projects import PROJECTS
from gateway.routes.free_commit.public import PUBLIC
from gateway.routes.free_commit.secrets import SECRETS
from gateway.routes.free_commit.webhooks import WEBHOOKS
from gateway.routes.gitflic.files import FILES
from gateway.routes.gitflic.keys import KEYS
from gateway.routes.gitflic.runners import RUNNERS
from gateway.routes.history import HISTORY
from gateway.routes.jobs import JOBS
from gateway.routes.tokens import TOKENS
from gateway.routes.users import USERS
from gateway.streaming.event_stream import stream_events

RAW = (
    Raw("POST", "/api/v4/jobs/request", answered(job_request.request_job)),
    Raw("PATCH", "/api/v4/jobs/{job_id:id}/trace", answered(runner_api.append_trace)),
    Raw("POST", "/api/v4/jobs/{job_id:id}/artifacts", answered(artifacts.upload_artifact)),
    Raw("GET", "/api/v4/jobs/{job_id:id}/artifacts", answered(artifacts.download_artifact)),
    Raw("PUT", "/api/v4/jobs/{job_id:id}", answered(runner_api.report_job)),
    Raw("POST", "/api/v4/runners", answered(runner_api.register_runner)),
    Raw("POST", runner_registration.REGISTRATION_PATH, answered(runner_registration.register_runner)),
    Raw("DELETE", "/api/v4/runners", answered(runner_api.unregister_runner)),
    Raw("POST", "/api/v4/runners/verify", answered(runner_api.verify_runner)),
    Raw("POST", "/api/v4/runners/reset_authentication_token", answered(runner_api.reset_token)),
    Raw("POST", "/api/v4/runners/{runner_id:id}/reset_authentication_token", answered(runner_api.reset_token_as_admin)),
    Raw("DELETE", "/api/v4/runners/managers", answered(runner_api.unregister_machine)),
    Raw("GET", "/api/events", stream_events),
    Raw("GET", "/api/upload/img/{name}", answered(get_avatar)),
)

TABLE = (
    *BUILDS,
    *JOBS,
    *FILES,
    *PUBLIC,
    *PAGES,
    *PROJECTS,
    *SECRETS,
    *CREDENTIALS,
    *USERS,
    *COMPANIES,
    *TOKENS,
    *KEYS,
    *EXECUTORS,
    *CONFIGURATION,
    *RUNNERS,
    *HISTORY,
    *WEBHOOKS,
)
