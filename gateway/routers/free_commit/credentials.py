"""Routes of credentials: SSH keys for reading repositories."""

from functools import partial
from typing import Annotated

from fastapi import Security

from contracts.projects import (
    ChangeCredentialKey,
    CreateCredential,
    DeleteCredential,
    GetCredential,
    ListCredentials,
    RenameCredential,
    RevealCredential,
)
from gateway.adapters.free_commit.models import CREDENTIALS, ECHOED_CREDENTIAL, ONE_CREDENTIAL, REVEALED_CREDENTIAL
from gateway.adapters.free_commit.request_fields import CREDENTIAL
from gateway.dependencies import admin, developer
from gateway.forwarding.changes import forward_change
from gateway.forwarding.forward import forward
from gateway.routers.prefix_router import free_commit_router
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import ReturnMessage

DeveloperReader = Annotated[Actor, Security(developer, scopes=["SECRET_READ"])]
AdminReader = Annotated[Actor, Security(admin, scopes=["SECRET_READ"])]
AdminWriter = Annotated[Actor, Security(admin, scopes=["SECRET_WRITE"])]

developers = free_commit_router("/api/developer/credentials", "Credentials")
admins = free_commit_router("/api/admin/credentials", "Credentials")
written = ReturnMessage(GetCredential, "credential_id")  # the client knows the key, which is added to the answer
change = partial(
    forward_change,
    admins,
    "/{credential_id:id}",
    body=CREDENTIAL,
    user=AdminWriter,
    response=REVEALED_CREDENTIAL,
    return_message=ReturnMessage(RevealCredential, "credential_id"),
)
LIST = "List all credentials by id, without their keys."

forward(developers, "GET", "", ListCredentials, DeveloperReader, LIST, response=CREDENTIALS)
forward(
    developers,
    "GET",
    "/{credential_id:id}",
    GetCredential,
    DeveloperReader,
    "Get a credential without its key.",
    response=ONE_CREDENTIAL,
)
forward(admins, "GET", "", ListCredentials, AdminReader, LIST, response=CREDENTIALS)
forward(
    admins,
    "GET",
    "/{credential_id:id}",
    RevealCredential,
    AdminReader,
    "Get a credential with its key in clear text. Each access is recorded with its user.",
    response=REVEALED_CREDENTIAL,
)
forward(
    admins,
    "POST",
    "",
    CreateCredential,
    AdminWriter,
    "Add a private SSH key for reading repositories.",
    body=CREDENTIAL,
    response=ECHOED_CREDENTIAL,
    return_message=written,
    status_code=201,
)
change("name", RenameCredential, "Change the credential's name.")
change(
    "ssh_key",
    ChangeCredentialKey,
    "Replace the credential's SSH key.",
    response=ECHOED_CREDENTIAL,
    return_message=written,
)
forward(
    admins,
    "DELETE",
    "/{credential_id:id}",
    DeleteCredential,
    AdminWriter,
    "Delete a credential. Rejected while a project uses it.",
    status_code=204,
    errors=("CREDENTIAL_IN_USE",),
)
