"""Every route of the gateway, one line each, in a module per resource."""

from gateway.dialects import gitlab_artifacts, gitlab_request, gitlab_runner
from gateway.dialects.gitflic import registration
from gateway.dialects.gitflic.pictures import picture
from gateway.events import events
from gateway.routes.builds import BUILDS
from gateway.routes.companies import COMPANIES
from gateway.routes.configuration import CONFIGURATION
from gateway.routes.credentials import CREDENTIALS
from gateway.routes.executors import EXECUTORS
from gateway.routes.files import FILES
from gateway.routes.history import HISTORY
from gateway.routes.jobs import JOBS
from gateway.routes.keys import KEYS
from gateway.routes.pages import PAGES
from gateway.routes.projects import PROJECTS
from gateway.routes.public import PUBLIC
from gateway.routes.runners import RUNNERS
from gateway.routes.secrets import SECRETS
from gateway.routes.tokens import TOKENS
from gateway.routes.users import USERS
from gateway.routes.webhooks import WEBHOOKS
from gateway.routing import Raw, answered

RAW = (
    Raw("POST", "/api/v4/jobs/request", answered(gitlab_request.request_job)),
    Raw("PATCH", "/api/v4/jobs/{job_id:id}/trace", answered(gitlab_runner.append_trace)),
    Raw("POST", "/api/v4/jobs/{job_id:id}/artifacts", answered(gitlab_artifacts.upload)),
    Raw("GET", "/api/v4/jobs/{job_id:id}/artifacts", answered(gitlab_artifacts.fetch)),
    Raw("PUT", "/api/v4/jobs/{job_id:id}", answered(gitlab_runner.report)),
    Raw("POST", "/api/v4/runners", answered(gitlab_runner.register)),
    Raw("POST", registration.REGISTRATION_PATH, answered(registration.register)),
    Raw("DELETE", "/api/v4/runners", answered(gitlab_runner.unregister)),
    Raw("POST", "/api/v4/runners/verify", answered(gitlab_runner.verify)),
    Raw("POST", "/api/v4/runners/reset_authentication_token", answered(gitlab_runner.reset_token)),
    Raw("POST", "/api/v4/runners/{runner_id:id}/reset_authentication_token", answered(gitlab_runner.reset_token_of)),
    Raw("DELETE", "/api/v4/runners/managers", answered(gitlab_runner.leave_machine)),
    Raw("GET", "/api/events", events),
    Raw("GET", "/api/upload/img/{name}", answered(picture)),
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
