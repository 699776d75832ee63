"""Routes of secrets in Free Commit's API. Only administrators can read values."""

from typing import Annotated

from fastapi import Security

from contracts.projects import (
    DeleteSecret,
    GetSecret,
    ListSecrets,
    RenameSecret,
    RevealSecret,
)
from gateway.adapters.free_commit.models import ONE_SECRET, REVEALED_SECRET, SECRETS
from gateway.adapters.free_commit.request_fields import SECRET
from gateway.dependencies import admin, developer
from gateway.forwarding.changes import forward_change
from gateway.forwarding.forward import forward
from gateway.routers.prefix_router import free_commit_router
from gateway.routers.project_settings import add_secret_routes
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import ReturnMessage

DeveloperReader = Annotated[Actor, Security(developer, scopes=["SECRET_READ"])]
AdminReader = Annotated[Actor, Security(admin, scopes=["SECRET_READ"])]
AdminWriter = Annotated[Actor, Security(admin, scopes=["SECRET_WRITE"])]

developers = free_commit_router("/api/developer/secrets", "Secrets")
admins = free_commit_router("/api/admin/secrets", "Secrets")
LIST = "List the secrets that the user may see, by id, without their values."

forward(developers, "GET", "", ListSecrets, DeveloperReader, LIST, response=SECRETS)
forward(
    developers,
    "GET",
    "/{secret_id:id}",
    GetSecret,
    DeveloperReader,
    "Get a secret without its value.",
    response=ONE_SECRET,
)
# without values, because each reading of a value is recorded
forward(admins, "GET", "", ListSecrets, AdminReader, LIST, response=SECRETS)
forward(
    admins,
    "GET",
    "/{secret_id:id}",
    RevealSecret,
    AdminReader,
    "Get a secret with its value in clear text. Each access is recorded with its user.",
    response=REVEALED_SECRET,
)
add_secret_routes(admins, admin, REVEALED_SECRET, RevealSecret)
forward_change(
    admins,
    "/{secret_id:id}",
    "name",
    RenameSecret,
    "Change the secret's name.",
    body=SECRET,
    user=AdminWriter,
    response=REVEALED_SECRET,
    return_message=ReturnMessage(RevealSecret, "secret_id"),
)
forward(
    admins,
    "DELETE",
    "/{secret_id:id}",
    DeleteSecret,
    AdminWriter,
    "Delete a secret. Rejected while it is attached to a project.",
    status_code=204,
    errors=("SECRET_PROJECTS_NOT_EMPTY",),
)
