"""Credentials."""

from functools import partial

from contracts.projects import (
    ChangeCredentialKey,
    CreateCredential,
    DeleteCredential,
    GetCredential,
    ListCredentials,
    RenameCredential,
    RevealCredential,
)
from gateway.dialects import free_commit as fc
from gateway.fields import text
from gateway.routes.patching import change
from gateway.routing import Shown, command, query
from libs.messaging import Showing

_credential = Shown(Showing(RevealCredential, "credential_id"), fc.REVEALED_CREDENTIAL)
_new_credential = Shown(Showing(GetCredential, "credential_id"), fc.ECHOED_CREDENTIAL)
credential = partial(change, "/admin/credentials/{credential_id:id}", "credential", shows=_credential)

CREDENTIALS = (
    query("/developer/credentials", ListCredentials, write=fc.CREDENTIALS),
    query("/developer/credentials/{credential_id:id}", GetCredential, write=fc.ONE_CREDENTIAL),
    query("/admin/credentials", ListCredentials, write=fc.CREDENTIALS),
    command("GET", "/admin/credentials/{credential_id:id}", RevealCredential, write=fc.REVEALED_CREDENTIAL),
    command("POST", "/admin/credentials", CreateCredential, body=fc.CREDENTIAL, status=201, shows=_new_credential),
    credential("name", RenameCredential, name=text),
    credential("ssh_key", ChangeCredentialKey, ssh_key=text, shows=_new_credential),
    command(
        "DELETE", "/admin/credentials/{credential_id:id}", DeleteCredential, status=204, errors=("CREDENTIAL_IN_USE",)
    ),
)
